/** Silence: a wait that says when nothing came. */
import { describe, expect, it } from "bun:test";
import { SILENCE, Silence } from "../../src/server/silence.ts";
import { pause } from "../../src/stream/within.ts";
import { watchTimers } from "../support/timers.ts";

describe("Silence", () => {
  it("gives what comes in time", async () => {
    expect(await new Silence(60_000).wait(Promise.resolve(1))).toBe(1);
  });

  it("gives SILENCE again and again, and then what comes", async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const silence = new Silence(1);
    expect(await silence.wait(promise)).toBe(SILENCE);
    expect(await silence.wait(promise)).toBe(SILENCE);
    resolve(1);
    expect(await silence.wait(promise)).toBe(1);
  });

  it("sets no timer where it is 0", async () => {
    const { live, restore } = watchTimers();
    try {
      const { promise, resolve } = Promise.withResolvers<number>();
      const wait = new Silence(0).wait(promise);
      expect(live.size).toBe(0);
      resolve(1);
      expect(await wait).toBe(1);
    } finally {
      restore();
    }
  });

  it("sets one timer for many waits, and none once it is stopped", async () => {
    const { live, restore } = watchTimers();
    try {
      const silence = new Silence(60_000);
      await silence.wait(Promise.resolve(1));
      const timers = [...live];
      expect(timers.length).toBe(1);
      await silence.wait(Promise.resolve(2));
      expect([...live]).toEqual(timers);
      const { promise, resolve } = Promise.withResolvers<number>();
      const wait = silence.wait(promise);
      silence.stop();
      expect(live.size).toBe(0);
      resolve(3);
      expect(await wait).toBe(3);
      await silence.wait(Promise.resolve(4));
      expect(live.size).toBe(0);
    } finally {
      restore();
    }
  });

  it("counts from the newest wait", async () => {
    const silence = new Silence(20);
    await silence.wait(Promise.resolve(1));
    await pause(15);
    const since = performance.now();
    expect(await silence.wait(new Promise(() => undefined))).toBe(SILENCE);
    expect(performance.now() - since).toBeGreaterThanOrEqual(19);
  });
});
