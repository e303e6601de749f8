import { Buffer } from "node:buffer";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FileTypeName, openQuantizer, quantized } from "../../tools/quantize.ts";
import { writeWhole } from "../../tools/gguf_copy.ts";
import { DEFAULT, LogitsProbe, logSumExp, REFERENCE } from "../support/logits_probe.ts";
import { GOLDEN, tinyMixtral } from "../support/tiny_mixtral.ts";
import golden from "./golden/mixtral.json" with { type: "json" };

// Figures of llama.cpp v0.5.0 (ggml 0.25.1) with one thread, no flash attention, f32 cache and no
// repacking; its file has the same weights and a vocabulary with words.

const types = ["q4_0", "q8_0", "q4_k_m", "q6_k"] as const satisfies FileTypeName[];

let folder = "";
const file = (name: string): string => join(folder, `${name}.gguf`);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-"));
  writeFileSync(file("golden"), tinyMixtral(GOLDEN));
  writeFileSync(file("f32"), tinyMixtral({ name: "wide", n_layer: 2, n_embd: 256, n_ff: 256 }));
  const quantize = await openQuantizer();
  for (const type of types) await writeWhole(file(type), quantized(file("f32"), type, quantize));
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true }));

const sameBits = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength)
    .equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

/** KL divergence of two rows of logits. */
function divergence(p: Float32Array, q: Float32Array): number {
  const [lse_p, lse_q] = [logSumExp(p), logSumExp(q)];
  return p.reduce((sum, x, i) => sum + Math.exp(x - lse_p) * (x - lse_p - (q[i]! - lse_q)), 0);
}

const prompt = Array.from({ length: 64 }, (_, i) => (i * 7919 + 3) % 512);

describe("A tiny Mixtral with f32 weights, as it was recorded", () => {
  test("has the golden logits", async () => {
    using probe = await LogitsProbe.open(file("golden"), REFERENCE);
    const rows = probe.logits(golden.prompt);
    for (const { pos, lse, ids, logits } of golden.logits) {
      const row = rows[pos]!;
      ids.forEach((id, i) => expect(Math.abs(row[id]! - logits[i]!)).toBeLessThan(2e-4));
      expect(Math.abs(logSumExp(row) - lse)).toBeLessThan(2e-4);
    }
  });

  test("continues as the reference does, as far as it is decided", async () => {
    using probe = await LogitsProbe.open(file("golden"), REFERENCE);
    const expected = golden.greedy.slice(0, golden.gap.findIndex((gap) => gap < 1e-2));
    expect(expected.length).toBeGreaterThan(8);
    expect(probe.greedy(golden.prompt, expected.length)).toEqual(expected);
  });
});

describe.each(types)("A tiny Mixtral of %s on the fast paths", (type) => {
  test("is about what was recorded", async () => {
    using recorded = await LogitsProbe.open(file(type), REFERENCE);
    using fast = await LogitsProbe.open(file(type), DEFAULT);
    const expected = recorded.logits(prompt).map((row) => row.slice());
    const found = fast.logits(prompt);
    const distances = expected.map((row, i) => divergence(row, found[i]!)).sort((a, b) => a - b);
    // The middle one: where two experts score alike, another rounding takes the other.
    expect(distances[distances.length / 2]!).toBeLessThan(0.02);
  });

  test("gives a token the same bits in any batch and with any number of threads", async () => {
    using alone = await LogitsProbe.open(file(type), { ...DEFAULT, n_threads: 1 });
    const rows = prompt.map((id, i) => alone.logits([id], i)[0]!.slice());
    for (const n_threads of [1, 2, 3]) {
      for (const n of [1, 4, 8, 64]) {
        using probe = await LogitsProbe.open(file(type), { ...DEFAULT, n_threads });
        for (let from = 0; from < prompt.length; from += n) {
          const found = probe.logits(prompt.slice(from, from + n), from);
          found.forEach((row, i) => expect(sameBits(row, rows[from + i]!)).toBe(true));
        }
      }
    }
  }, 60_000);
});
