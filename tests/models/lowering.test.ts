import { Buffer } from "node:buffer";
import { describe, expect, test } from "bun:test";
import { resolveModel } from "../../src/store/reference.ts";
import {
  argmax,
  DEFAULT,
  LogitsProbe,
  type ProbeOptions,
  REFERENCE,
} from "../support/logits_probe.ts";

const prompt = [504, 3575, 282, 4649, 314, 7042, 30, 198, 198, 504, 1797, 1918];

async function rows(options: ProbeOptions): Promise<Float32Array[]> {
  using probe = await LogitsProbe.open(resolveModel("smollm2").path, options);
  return probe.logits(prompt).map((row) => row.slice());
}

describe("The rewrites of the CPU", () => {
  test("give the same bits as the graph that was recorded", async () => {
    const recorded = await rows(REFERENCE);
    const fused = await rows({ ...REFERENCE, fused: true });
    fused.forEach((row, i) =>
      expect(Buffer.from(row.buffer).equals(Buffer.from(recorded[i]!.buffer))).toBe(true)
    );
  }, 60_000);
});

describe("Threads", () => {
  test("do not change a bit of the plain path", async () => {
    const one = await rows(REFERENCE);
    const two = await rows({ ...REFERENCE, n_threads: 2 });
    two.forEach((row, i) =>
      expect(Buffer.from(row.buffer).equals(Buffer.from(one[i]!.buffer))).toBe(true)
    );
  }, 60_000);
});

describe("The CPU's own weight layouts and flash attention", () => {
  const types = ["f16", "f32", "q8_0"] as const;
  test.each(types)(
    "keep every likely token whose lead is clear, cells of %s",
    async (cacheType) => {
      const recorded = await rows(REFERENCE);
      const fast = await rows({ ...DEFAULT, cacheType });
      let clear = 0;
      recorded.forEach((row, i) => {
        const best = argmax(row);
        const second = row.reduce((max, x, id) => id !== best && x > max ? x : max, -Infinity);
        if (row[best]! - second < 1) return;
        clear += 1;
        expect(argmax(fast[i]!)).toBe(best);
      });
      expect(clear).toBeGreaterThan(3);
    },
    60_000,
  );
});
