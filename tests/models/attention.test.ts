import { Buffer } from "node:buffer";
import { describe, expect, test } from "bun:test";
import { KvCache } from "../../src/cache/kv_cache.ts";
import { Backend, Plan } from "../../src/ggml/backend.ts";
import type { CellType } from "../../src/ggml/emit.ts";
import { Library } from "../../src/ggml/library.ts";
import { planGraph } from "../../src/graph/plan.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { DEFAULT, LogitsProbe } from "../support/logits_probe.ts";

// From 512 cells on, ggml splits the keys of a single query between the threads, and the sums then
// depend on their number.
const N_CELLS = 512;

const sameBits = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength)
    .equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

/** Values between -2 and 2 without a pattern. */
function noise(n: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 30 - 2;
  });
}

interface Heads {
  n_head: number;
  n_head_kv: number;
  n_embd_head: number;
}

/** Attention of tokens to themselves and to all before them, over cells that `cells` fills. */
class AttentionProbe implements Disposable {
  readonly #resources = new DisposableStack();
  readonly #backend: Backend;
  readonly #cache: KvCache;
  readonly #blocks: number[] = [];
  readonly #heads: Heads;

  constructor(
    library: Library,
    heads: Heads,
    n_threads: number,
    type: CellType = "f16",
    n_streams = 1,
  ) {
    this.#heads = heads;
    this.#backend = this.#resources.use(new Backend(library, n_threads));
    const n_embd_kv = heads.n_embd_head * heads.n_head_kv;
    const sizes = { n_layer: 1, n_embd_kv, n_ctx: N_CELLS, n_streams, type };
    this.#cache = this.#resources.use(new KvCache(library, sizes));
  }

  /** `per_stream` tokens of each sequence; by default of the one that the probe has. */
  attend(
    n_past: number,
    per_stream: number,
    flashAttention: boolean,
    sequences: number[][] = [this.#blocks],
  ): Float32Array {
    const { n_head, n_head_kv, n_embd_head } = this.#heads;
    const n_streams = sequences.length;
    const n_tokens = per_stream * n_streams;
    const spans = sequences.map((blocks) => ({ blocks, n_past, n_tokens: per_stream }));
    const n_blocks = this.#cache.reserve(spans);
    const shape = { n_tokens, n_streams, n_blocks, n_outputs: n_tokens };
    const lowered = planGraph(
      (g) => {
        const input = (name: string, heads: number) =>
          g.input(name, "f32", n_embd_head, heads, n_tokens);
        const [q, k, v] = [input("q", n_head), input("k", n_head_kv), input("v", n_head_kv)];
        return g.attention(q, k, v, { il: 0, kq_scale: 0.25 });
      },
      shape,
      () => undefined,
      [],
    );
    const parts = { weights: { get: () => null }, cache: this.#cache, flashAttention };
    using plan = new Plan(this.#backend, lowered, shape, parts);
    this.#cache.place(plan, spans, n_blocks);
    for (const [name, heads] of [["q", n_head], ["k", n_head_kv], ["v", n_head_kv]] as const) {
      plan.set(name, noise(n_embd_head * heads * n_tokens, name.charCodeAt(0) + n_past));
    }
    plan.compute();
    const out = new Float32Array(n_embd_head * n_head * n_tokens);
    plan.read(out);
    return out;
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}

const layouts: [string, Heads][] = [
  ["a key head for each query head", { n_head: 4, n_head_kv: 4, n_embd_head: 24 }],
  ["grouped key heads", { n_head: 6, n_head_kv: 3, n_embd_head: 24 }],
  ["one key head for all", { n_head: 5, n_head_kv: 1, n_embd_head: 24 }],
  ["a single head", { n_head: 1, n_head_kv: 1, n_embd_head: 24 }],
  ["heads of our kernel", { n_head: 9, n_head_kv: 3, n_embd_head: 64 }],
  ["large heads of our kernel", { n_head: 5, n_head_kv: 1, n_embd_head: 128 }],
];

describe("Cells of q8_0 and f32", () => {
  // 96 is whole blocks of 32 and has our kernel, 80 is none, so that ggml attends to q8_0.
  test.each(["q8_0", "f32"] as const)("give what cells of f16 give, %s", async (type) => {
    for (const n_embd_head of [96, 80]) {
      const heads = { n_head: 6, n_head_kv: 2, n_embd_head };
      using library = await Library.open();
      using half = new AttentionProbe(library, heads, 2);
      using other = new AttentionProbe(library, heads, 2, type);
      const [expected, found] = [half.attend(0, 150, true), other.attend(0, 150, true)];
      const worst = expected.reduce((max, x, i) => Math.max(max, Math.abs(x - found[i]!)), 0);
      // q8_0 keeps numbers of up to 2 to 2 / 127 / 2.
      expect(worst).toBeLessThan(type === "q8_0" ? 0.05 : 5e-3);
    }
  });
});

describe("Blocks", () => {
  test("of sequences may lie anywhere: a batch gives each the bits that it has alone", async () => {
    const heads = { n_head: 9, n_head_kv: 3, n_embd_head: 64 };
    using library = await Library.open();
    using probe = new AttentionProbe(library, heads, 2, "f16", 2);
    using alone = new AttentionProbe(library, heads, 2);
    const [first, second] = [[], []] as [number[], number[]];
    // Their blocks lie by turns.
    for (const n_past of [0, 60, 120]) {
      for (const blocks of [first, second]) probe.attend(n_past, 60, true, [blocks]);
    }
    alone.attend(0, 60, true);
    alone.attend(60, 60, true);
    alone.attend(120, 60, true);
    expect(first).toEqual([0, 2, 4]);
    const rows = probe.attend(180, 1, true, [second, first]);
    const row = alone.attend(180, 1, true);
    expect(sameBits(rows.subarray(0, row.length), row)).toBe(true);
  });
});

describe("Flash attention of one token", () => {
  test.each(layouts)("is that of the plain soft max, %s", async (_name, heads) => {
    using library = await Library.open();
    using probe = new AttentionProbe(library, heads, 2);
    probe.attend(0, 300, true);
    const plain = probe.attend(300, 1, false);
    const flash = probe.attend(300, 1, true);
    const worst = plain.reduce((max, x, i) => Math.max(max, Math.abs(x - flash[i]!)), 0);
    expect(Math.max(...plain.map(Math.abs))).toBeGreaterThan(0.05);
    // Flash attention adds up in f16.
    expect(worst).toBeLessThan(5e-3);
  });

  test.each(layouts)("has the same bits with every number of threads, %s", async (_name, heads) => {
    using library = await Library.open();
    const rows = [1, 2, 3].map((n_threads) => {
      using probe = new AttentionProbe(library, heads, n_threads);
      probe.attend(0, 300, true);
      return probe.attend(300, 1, true);
    });
    for (const row of rows) expect(sameBits(row, rows[0]!)).toBe(true);
  });
});

describe("The fast paths", () => {
  const types = ["f16", "f32", "q8_0"] as const;
  test.each(types)("give a token the same bits alone and among others, %s", async (cacheType) => {
    const prompt = Array.from({ length: 150 }, (_, i) => 1000 + (i * 7919) % 40_000);
    const { path } = resolveModel("smollm2");
    using together = await LogitsProbe.open(path, { ...DEFAULT, cacheType });
    using alone = await LogitsProbe.open(path, { ...DEFAULT, cacheType });
    const rows = together.logits(prompt);
    prompt.forEach((id, i) => {
      expect(sameBits(alone.logits([id], i)[0]!, rows[i]!)).toBe(true);
    });
  }, 60_000);
});

describe("Decoding on the fast paths, past 512 cells", () => {
  test("has the same bits with every number of threads", async () => {
    const prompt = Array.from({ length: 300 }, (_, i) => 1000 + (i * 7919) % 40_000);
    const runs: Float32Array[][] = [];
    for (const n_threads of [1, 2, 3]) {
      using probe = await LogitsProbe.open(resolveModel("smollm2").path, { ...DEFAULT, n_threads });
      probe.logits(prompt);
      runs.push([504, 3575].map((id, i) => probe.logits([id], 300 + i)[0]!.slice()));
    }
    for (const run of runs) run.forEach((row, i) => expect(sameBits(row, runs[0]![i]!)).toBe(true));
  }, 60_000);
});
