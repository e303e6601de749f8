/** within(): what comes in time, and what does not. */
import { describe, expect, it } from "bun:test";
import { pause, within } from "../../src/stream/within.ts";
import { watchTimers } from "../support/timers.ts";

it("pause() takes its time", async () => {
  const before = performance.now();
  await pause(20);
  expect(performance.now() - before).toBeGreaterThan(18);
});

describe("within()", () => {
  it("gives what comes in time and leaves no timer", async () => {
    const { live, restore } = watchTimers();
    try {
      expect(await within(Promise.resolve(7), 60_000)).toBe(7);
      expect(live.size).toBe(0);
    } finally {
      restore();
    }
  });

  it("gives undefined where nothing comes", async () => {
    expect(await within(new Promise(() => undefined), 1)).toBe(undefined);
  });

  it("rejects with what it waits for, and leaves no timer", async () => {
    const { live, restore } = watchTimers();
    try {
      await expect(within(Promise.reject(new Error("no")), 60_000)).rejects.toThrow("no");
      expect(live.size).toBe(0);
    } finally {
      restore();
    }
  });
});
