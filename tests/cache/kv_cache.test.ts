import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CELLS_STEP, KvCache } from "../../src/cache/kv_cache.ts";
import { LibraryError } from "../../src/errors.ts";
import { Library } from "../../src/ggml/library.ts";

let library: Library;
beforeAll(async () => {
  library = await Library.open();
});
afterAll(() => library[Symbol.dispose]());

const sizes = { n_layer: 2, n_embd_kv: 8, n_ctx: 300, n_streams: 2 };

describe("KvCache", () => {
  test("has a pair of tensors for each layer and rounds its streams up", () => {
    using cache = new KvCache(library, sizes);
    expect([cache.k.length, cache.v.length]).toEqual([2, 2]);
    expect(cache.n_cells).toBe(2 * CELLS_STEP);
    expect(cache.bytes).toBe(2 * 2 * (8 * 2) * 2 * CELLS_STEP * 2);
    expect(cache.row(1, 7)).toBe(2 * CELLS_STEP + 7);
  });

  test("reserve() rounds up to what attention reads, up to the end of the stream", () => {
    using cache = new KvCache(library, sizes);
    expect([cache.reserve(0, 1), cache.reserve(0, CELLS_STEP), cache.reserve(0, CELLS_STEP + 1)])
      .toEqual([CELLS_STEP, CELLS_STEP, 2 * CELLS_STEP]);
    expect(cache.reserve(1, 10_000)).toBe(2 * CELLS_STEP);
  });

  test("reserve() zeroes the cells of its own stream that it gives for the first time, and no others", () => {
    using cache = new KvCache(library, { ...sizes, type: "f32" });
    const { native } = library;
    const row = 8 * 4;
    const write = (value: number, at: number) =>
      native.ggml_backend_tensor_set(
        cache.k[0]!,
        new Float32Array(8).fill(value),
        BigInt(at * row),
        BigInt(row),
      );
    const read = (at: number) => {
      const values = new Float32Array(8);
      native.ggml_backend_tensor_get(cache.k[0]!, values, BigInt(at * row), BigInt(row));
      return values[0];
    };
    write(NaN, cache.row(0, 5));
    write(NaN, cache.row(1, 5));
    cache.reserve(0, 6);
    expect([read(cache.row(0, 5)), read(cache.row(1, 5))]).toEqual([0, NaN]);
    write(3, cache.row(0, 5));
    cache.reserve(0, 7);
    expect(read(cache.row(0, 5))).toBe(3);
  });

  test("throws LibraryError with what to do when memory is short", () => {
    const huge = { ...sizes, n_embd_kv: 1 << 16, n_ctx: 1 << 24, n_streams: 64 };
    expect(() => new KvCache(library, huge)).toThrow(LibraryError);
    expect(() => new KvCache(library, huge)).toThrow(/--ctx-size/);
  });
});
