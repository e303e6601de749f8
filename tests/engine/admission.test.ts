import { describe, expect, it } from "bun:test";
import { Admission } from "../../src/engine/admission.ts";

/** Asks for so many at once, beside those that are active; gives how many are active then. */
function burst(admission: Admission, active: number, count: number, nowMs: number): number {
  for (let i = 0; i < count; i++) if (admission.takes(active, nowMs)) active++;
  return active;
}

describe("Admission", () => {
  it("lets a burst wait, and another one after it", () => {
    const admission = new Admission(4, 64);
    expect(burst(admission, 0, 68, 0)).toBe(68);
    expect(burst(admission, 0, 68, 1)).toBe(68);
  });

  it("lets nobody wait from the first refusal on", () => {
    const admission = new Admission(4, 64);
    expect(burst(admission, 0, 69, 0)).toBe(68);
    expect(admission.takes(60, 1)).toBe(false);
    expect(admission.takes(4, 2)).toBe(false);
    expect(admission.takes(3, 3)).toBe(true);
  });

  it("lets requests wait again when nobody was refused for a while", () => {
    const admission = new Admission(4, 64, 5000);
    burst(admission, 0, 69, 0);
    expect(admission.takes(4, 4999)).toBe(false);
    expect(admission.takes(4, 9998)).toBe(false);
    expect(admission.takes(4, 14_998)).toBe(true);
  });

  it("takes nobody beside those that run where nobody may wait", () => {
    const admission = new Admission(2, 0);
    expect(burst(admission, 0, 5, 0)).toBe(2);
  });
});
