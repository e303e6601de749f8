import { describe, expect, test } from "bun:test";
import { Patience, sleep } from "../../src/client/patience.ts";

/** Runs with timers that fire at once, and gives the milliseconds that were asked for. */
async function pauses(body: () => Promise<unknown>): Promise<number[]> {
  const asked: number[] = [];
  const set = globalThis.setTimeout;
  const instant = (call: () => void, ms = 0): unknown => {
    asked.push(ms);
    return set(call, 0);
  };
  globalThis.setTimeout = instant as unknown as typeof set;
  try {
    await body();
  } finally {
    globalThis.setTimeout = set;
  }
  return asked;
}

const { signal } = new AbortController();
const setback = { cause: new TypeError("fetch failed") };

describe("Patience", () => {
  const options = { retries: Infinity, timeoutMs: Infinity, retryMs: 100 };

  test("pauses for a time that doubles up to 5 s, less a random part of it", async () => {
    const patience = new Patience(options);
    const asked = await pauses(async () => {
      for (let i = 0; i < 10; i++) await patience.pause(setback, signal);
    });
    const full = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000];
    for (const [i, ms] of full.entries()) {
      expect(asked[i]).toBeGreaterThanOrEqual(ms / 2);
      expect(asked[i]).toBeLessThanOrEqual(ms);
    }
    expect(new Set(asked.map((ms, i) => ms / full[i]!)).size).toBeGreaterThan(1);
  });

  test("begins anew after progress", async () => {
    const patience = new Patience(options);
    const asked = await pauses(async () => {
      for (let i = 0; i < 5; i++) await patience.pause(setback, signal);
      patience.progress();
      await patience.pause(setback, signal);
    });
    expect(asked.at(-1)).toBeLessThanOrEqual(100);
  });

  test("never pauses shorter than the server asks", async () => {
    const asked = await pauses(async () => {
      await new Patience(options).pause({ ...setback, afterMs: 7000 }, signal);
      await new Patience({ ...options, retryMs: 20_000 }).pause(setback, signal);
    });
    expect(asked[0]).toBe(7000);
    expect(asked[1]).toBeGreaterThanOrEqual(10_000);
  });

  test("pauses a little where the server says 0", async () => {
    const patience = new Patience({ ...options, retryMs: 0 });
    const asked = await pauses(async () => {
      for (let i = 0; i < 8; i++) await patience.pause(setback, signal);
    });
    expect(asked.at(-1)).toBeGreaterThanOrEqual(64);
  });

  test("counts only the time after a setback, not that of a reader that pauses", async () => {
    const patience = new Patience({ ...options, timeoutMs: 30, retryMs: 1 });
    await sleep(60, signal);
    await patience.pause(setback, signal);
    patience.progress();
    await sleep(60, signal);
    await patience.pause(setback, signal);
    await expect((async () => {
      for (;;) await patience.pause(setback, signal);
    })()).rejects.toThrow("within 30 ms");
  });
});
