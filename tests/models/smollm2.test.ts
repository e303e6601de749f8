import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { cacheFolder } from "../../src/store/cache.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { widen } from "../../tools/widen.ts";
import { argmax, DEFAULT, LogitsProbe, logSumExp, REFERENCE } from "../support/logits_probe.ts";
import f32Golden from "./golden/smollm2-f32.json" with { type: "json" };
import q4Golden from "./golden/smollm2-q4_1.json" with { type: "json" };

// Figures of llama.cpp v0.5.0 (ggml 0.25.1); `reference` is one thread, no flash attention, f32
// cache, no repacking.

interface GoldenRow {
  pos: number;
  /** Log-sum-exp of the whole row. */
  lse: number;
  /** The most likely ids and their logits. */
  ids: number[];
  logits: number[];
}

interface GoldenRun {
  greedy: number[];
  /** Distance between the two best logits at each step. */
  gap: number[];
}

/** KL divergence from the golden row over its stored ids. */
function divergence(golden: GoldenRow, row: Float32Array): number {
  const lse = logSumExp(row);
  return golden.ids.reduce((sum, id, i) => {
    const log_p = golden.logits[i]! - golden.lse;
    return sum + Math.exp(log_p) * (log_p - (row[id]! - lse));
  }, 0);
}

/** Ids up to the first step where two tokens were so close that another rounding may swap them. */
function decided(run: GoldenRun, gap: number): number[] {
  const first = run.gap.findIndex((g) => g < gap);
  return first < 0 ? run.greedy : run.greedy.slice(0, first);
}

async function widened(): Promise<string> {
  const folder = join(cacheFolder(), "models");
  const path = join(folder, "SmolLM2-135M-Instruct.F32.gguf");
  if (statSync(path, { throwIfNoEntry: false })?.size !== f32Golden.file.bytes) {
    mkdirSync(folder, { recursive: true });
    const partial = `${path}.${process.pid}`;
    await widen(resolveModel("smollm2").path, partial);
    renameSync(partial, path);
  }
  return path;
}

describe("SmolLM2 with f32 weights, as it was recorded", () => {
  let path = "";
  beforeAll(async () => {
    path = await widened();
  }, 120_000);

  test("has the golden logits at every position", async () => {
    expect(existsSync(path)).toBe(true);
    using probe = await LogitsProbe.open(path, REFERENCE);
    const rows = probe.logits(f32Golden.logits.ids);
    let worst = 0;
    for (const golden of f32Golden.logits.reference) {
      const row = rows[golden.pos]!;
      golden.ids.forEach((id, i) => {
        worst = Math.max(worst, Math.abs(row[id]! - golden.logits[i]!));
      });
      expect(Math.abs(logSumExp(row) - golden.lse)).toBeLessThan(2e-4);
    }
    expect(worst).toBeLessThan(2e-4);
  }, 120_000);

  test("continues every golden chat as the reference does", async () => {
    using probe = await LogitsProbe.open(path, REFERENCE);
    let compared = 0;
    for (const { ids, reference } of f32Golden.prompts) {
      const expected = decided(reference, 1e-2);
      compared += expected.length;
      expect(probe.greedy(ids, expected.length)).toEqual(expected);
    }
    expect(compared).toBeGreaterThan(100);
  }, 240_000);
});

describe.each([["as it was recorded", REFERENCE], ["on the fast paths", DEFAULT]] as const)(
  "SmolLM2 with q4_1 weights, %s",
  (_name, options) => {
    test(
      "is as close to the golden rows as two builds of the reference are to each other",
      async () => {
        using probe = await LogitsProbe.open(resolveModel("smollm2").path, options);
        const rows = probe.logits(q4Golden.logits.ids);
        const golden = q4Golden.logits.reference;
        const sum = golden.reduce((s, g) => s + divergence(g, rows[g.pos]!), 0);
        const same = golden.filter((g) => argmax(rows[g.pos]!) === g.ids[0]).length;
        expect(sum / golden.length).toBeLessThan(0.01);
        expect(same / golden.length).toBeGreaterThanOrEqual(0.95);
      },
      60_000,
    );

    test("continues every golden chat as far as it is decided", async () => {
      using probe = await LogitsProbe.open(resolveModel("smollm2").path, options);
      let compared = 0;
      for (const { ids, reference } of q4Golden.prompts) {
        const expected = decided(reference, 0.5);
        compared += expected.length;
        expect(probe.greedy(ids, expected.length)).toEqual(expected);
      }
      expect(compared).toBeGreaterThan(4);
    }, 60_000);
  },
);
