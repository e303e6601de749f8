import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Inputs, KvCache, type Span } from "../../src/cache/kv_cache.ts";
import { LibraryError } from "../../src/errors.ts";
import { BLOCK_CELLS } from "../../src/ggml/emit.ts";
import { Library } from "../../src/ggml/library.ts";

let library: Library;
beforeAll(async () => {
  library = await Library.open();
});
afterAll(() => library[Symbol.dispose]());

const sizes = { n_layer: 2, n_embd_kv: 32, n_ctx: 300, n_streams: 2 };
/** Blocks of a sequence of `n_ctx` tokens. */
const N_BLOCKS = 5;

/** What a plan would be told. */
class Told implements Inputs {
  readonly values: Record<string, number[]> = {};
  readonly #names: string[];
  constructor(...names: string[]) {
    this.#names = names;
  }
  reads(name: string): boolean {
    return this.#names.includes(name);
  }
  set(name: string, data: ArrayBufferView): void {
    const items = data as Int32Array | BigInt64Array;
    if (this.reads(name)) this.values[name] = Array.from(items, Number);
  }
}

describe("KvCache", () => {
  test("has a pair of tensors for each layer and room for every sequence, by type", () => {
    const values = 2 * 2 * 32 * (2 * N_BLOCKS * BLOCK_CELLS);
    for (const [type, bytes] of [["f16", 2], ["f32", 4], ["q8_0", 34 / 32]] as const) {
      using cache = new KvCache(library, { ...sizes, type });
      expect([cache.k.length, cache.v.length]).toEqual([2, 2]);
      expect(cache.bytes).toBe(values * bytes);
      expect(cache.n_free).toBe(2 * N_BLOCKS);
    }
  });

  test("reserve() takes blocks as sequences grow, and says how many a plan reads, in steps", () => {
    using cache = new KvCache(library, sizes);
    const [a, b]: [number[], number[]] = [[], []];
    const grown = (blocks: number[], n_past: number, n_tokens: number): Span => ({
      blocks,
      n_past,
      n_tokens,
    });
    expect(cache.reserve([grown(a, 0, 1), grown(b, 0, 65)])).toBe(4);
    expect([a.length, b.length]).toEqual([1, 2]);
    expect(cache.reserve([grown(a, 1, 1)])).toBe(4);
    expect(a.length).toBe(1);
    expect(cache.reserve([grown(a, 2, 298)])).toBe(8);
    expect(cache.n_free).toBe(2 * N_BLOCKS - 7);
    expect(new Set([...a, ...b]).size).toBe(7);
  });

  test("release() takes blocks back, and they are the next to be taken", () => {
    using cache = new KvCache(library, sizes);
    const [a, b]: [number[], number[]] = [[], []];
    cache.reserve([{ blocks: a, n_past: 0, n_tokens: 200 }]);
    const held = [...a];
    cache.release(a);
    expect(a).toEqual([]);
    expect(cache.n_free).toBe(2 * N_BLOCKS);
    cache.reserve([{ blocks: b, n_past: 0, n_tokens: 200 }]);
    expect(b).toEqual(held);
  });

  test("reserve() throws LibraryError when no block is left", () => {
    using cache = new KvCache(library, sizes);
    const span: Span = { blocks: [], n_past: 0, n_tokens: 2 * N_BLOCKS * BLOCK_CELLS };
    cache.reserve([span]);
    expect(() => cache.reserve([{ ...span, n_tokens: span.n_tokens + 1 }])).toThrow(LibraryError);
  });

  test("place() tells where tokens go, the blocks of their sequence and what each sees", () => {
    using cache = new KvCache(library, sizes);
    const told = new Told("kv_rows", "kv_blocks", "kv_seen");
    const spans = [
      { blocks: [7, 2], n_past: 63, n_tokens: 2 },
      { blocks: [4], n_past: 0, n_tokens: 2 },
    ];
    cache.place(told, spans, 4);
    expect(told.values).toEqual({
      kv_rows: [7 * 64 + 63, 2 * 64, 4 * 64, 4 * 64 + 1],
      kv_blocks: [7, 2, 0, 0, 4, 0, 0, 0],
      kv_seen: [64, 65, 1, 2],
    });
  });

  test("place() gives ggml every cell and a mask, and no cell that was not written", () => {
    using cache = new KvCache(library, sizes);
    const told = new Told("kv_cells", "kq_mask");
    cache.place(told, [{ blocks: [3], n_past: 1, n_tokens: 2 }], 1);
    const { kv_cells, kq_mask } = told.values;
    expect(kv_cells).toEqual([192, 193, 194, ...Array(61).fill(192)]);
    const rows = [kq_mask!.slice(0, 64), kq_mask!.slice(64)];
    expect(rows.map((row) => row.lastIndexOf(0))).toEqual([1, 2]);
    expect(rows.map((row) => row.filter((bits) => bits === 0xfc00).length)).toEqual([62, 61]);
  });

  test("says what to do when memory is short or cells are no whole blocks", () => {
    const huge = { ...sizes, n_embd_kv: 1 << 16, n_ctx: 1 << 24, n_streams: 64 };
    expect(() => new KvCache(library, huge)).toThrow(LibraryError);
    expect(() => new KvCache(library, huge)).toThrow(/--ctx-size/);
    const odd = { ...sizes, n_embd_kv: 48, type: "q8_0" as const };
    expect(() => new KvCache(library, odd)).toThrow(/--cache-type/);
  });
});
