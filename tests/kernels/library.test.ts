/**
 * The C ABI through FFI: what sluice.h promises to a caller, right or wrong.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Library, type Native } from "../../src/ggml/library.ts";
import {
  GGML_TYPES,
  SLUICE_ABORTED,
  SLUICE_FAILED,
  SLUICE_OK,
  symbols,
} from "../../src/ggml/symbols.generated.ts";
import type { Pointer } from "../../src/runtime/ffi.ts";
import { loadFfi } from "../../src/runtime/mod.ts";

let library: Library;
let native: Native;
let folder: string;
beforeAll(async () => {
  library = await Library.open();
  native = library.native;
  folder = mkdtempSync(join(tmpdir(), "sluice-kernels-"));
});
afterAll(() => {
  library[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const NONE = new Int32Array(1);
const GREEDY = new Float64Array([0, 0, 1, 0, 1, 0, 0, 0]);
const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);

function lastError(): string {
  const buffer = new Uint8Array(512);
  return new TextDecoder().decode(
    buffer.subarray(0, native.sluice_last_error(buffer, buffer.length)),
  );
}

/** A product of two matrices, its graph and everything to free. */
class Product implements Disposable {
  readonly ctx: Pointer;
  readonly buffer: Pointer;
  readonly backend: Pointer;
  readonly graph: Pointer;
  readonly weight: Pointer;
  readonly activations: Pointer;
  readonly result: Pointer;
  readonly n_values: number;

  constructor(n_in: number, n_out: number, n_tokens: number) {
    this.n_values = n_out * n_tokens;
    this.ctx = native.sluice_context_new(1 << 20);
    const { f32 } = GGML_TYPES;
    this.weight = native.ggml_new_tensor_2d(this.ctx, f32.id, BigInt(n_in), BigInt(n_out));
    this.activations = native.ggml_new_tensor_2d(this.ctx, f32.id, BigInt(n_in), BigInt(n_tokens));
    this.result = native.ggml_mul_mat(this.ctx, this.weight, this.activations);
    this.graph = native.ggml_new_graph_custom(this.ctx, 16n, false);
    native.ggml_build_forward_expand(this.graph, this.result);
    this.buffer = native.ggml_backend_alloc_ctx_tensors_from_buft(
      this.ctx,
      native.ggml_backend_cpu_buffer_type(),
    );
    this.backend = native.ggml_backend_cpu_init();
  }

  set(tensor: Pointer, values: Float32Array): void {
    native.ggml_backend_tensor_set(tensor, values, 0n, BigInt(values.byteLength));
  }

  compute(n_threads: number, cancelled = NONE, members = new Int32Array(0)): number {
    native.ggml_backend_cpu_set_n_threads(this.backend, n_threads);
    return native.sluice_graph_compute(
      this.backend,
      this.graph,
      cancelled,
      members,
      members.length,
    );
  }

  values(): Float32Array {
    const values = new Float32Array(this.n_values);
    native.ggml_backend_tensor_get(this.result, values, 0n, BigInt(values.byteLength));
    return values;
  }

  [Symbol.dispose](): void {
    native.ggml_backend_free(this.backend);
    native.ggml_backend_buffer_free(this.buffer);
    native.ggml_free(this.ctx);
  }
}

describe("sluice_graph_compute", () => {
  test("gives the same product on one thread and on all", () => {
    using product = new Product(64, 48, 5);
    const weight = Float32Array.from({ length: 64 * 48 }, (_, i) => (i * 7) % 13 - 6);
    const activations = Float32Array.from({ length: 64 * 5 }, (_, i) => (i * 5) % 11 - 5);
    product.set(product.weight, weight);
    product.set(product.activations, activations);
    const expected = Array.from({ length: 48 * 5 }, (_, at) => {
      const [i, j] = [at % 48, Math.floor(at / 48)];
      let sum = 0;
      for (let k = 0; k < 64; k++) sum += weight[i * 64 + k]! * activations[j * 64 + k]!;
      return sum; // whole numbers: exact in f32
    });
    for (const n_threads of [1, 2, 4, 64]) {
      expect(product.compute(n_threads)).toBe(SLUICE_OK);
      expect([...product.values()]).toEqual(expected);
    }
    expect(native.sluice_pool_threads()).toBeLessThan(native.sluice_cpu_count());
  });

  test("stops once every member is cancelled, and the next computation runs", () => {
    using product = new Product(32, 32, 1);
    const members = new Int32Array([3, 1]);
    expect(product.compute(2, new Int32Array([0, 1, 0, 1]), members)).toBe(SLUICE_ABORTED);
    expect(product.compute(2, new Int32Array([1, 1, 1, 0]), members)).toBe(SLUICE_OK);
    expect(product.compute(2)).toBe(SLUICE_OK);
  });

  test("refuses a null graph and a negative member", () => {
    using product = new Product(32, 32, 1);
    expect(native.sluice_graph_compute(product.backend, null, NONE, NONE, 0)).toBe(SLUICE_FAILED);
    expect(lastError()).toBe("Cannot use graph: it is null");
    expect(product.compute(1, NONE, new Int32Array([-1]))).toBe(SLUICE_FAILED);
  });
});

describe("sluice_argmax and sluice_sample", () => {
  test("read a row of logits", () => {
    using product = new Product(32, 4, 3);
    const identity = new Float32Array(32 * 4);
    for (let i = 0; i < 4; i++) identity[i * 32 + i] = 1;
    const rows = new Float32Array(32 * 3);
    rows.set([1, 5, 5, 2], 0);
    rows.set([-1, -2, -3, -0.5], 32);
    rows.set([9, 0, 0, 0], 64);
    product.set(product.weight, identity);
    product.set(product.activations, rows);
    product.compute(1);
    const { result } = product;
    expect([0, 1, 2].map((row) => native.sluice_argmax(result, row))).toEqual([1, 3, 0]);
    expect([0, 1, 2].map((row) => native.sluice_sample(result, row, GREEDY, NONE, 0)))
      .toEqual([1, 3, 0]);
    const penalized = new Float64Array([0, 0, 1, 0, 20, 0, 0, 0]);
    expect(native.sluice_sample(result, 2, penalized, new Int32Array([0]), 1)).toBe(0);
    expect(native.sluice_sample(result, 1, penalized, new Int32Array([3]), 1)).toBe(0);
    expect([...product.values().subarray(8, 12)]).toEqual([9, 0, 0, 0]);
  });

  test("refuse a row that is not there, another type and logits without data", () => {
    using product = new Product(32, 4, 1);
    expect(native.sluice_argmax(product.result, 1)).toBe(SLUICE_FAILED);
    expect(lastError()).toBe("Cannot read row 1 of logits: there are 1");
    expect(native.sluice_argmax(product.result, -1)).toBe(SLUICE_FAILED);
    expect(native.sluice_argmax(null, 0)).toBe(SLUICE_FAILED);
    const empty = native.ggml_new_tensor_1d(product.ctx, GGML_TYPES.f32.id, 4n);
    expect(native.sluice_sample(empty, 0, GREEDY, NONE, 0)).toBe(SLUICE_FAILED);
    const f16 = native.ggml_new_tensor_1d(product.ctx, GGML_TYPES.f16.id, 4n);
    const buffer = native.ggml_backend_buft_alloc_buffer(
      native.ggml_backend_cpu_buffer_type(),
      64n,
    );
    expect(native.sluice_tensor_place(buffer, f16, 0)).toBe(SLUICE_OK);
    expect(native.sluice_sample(f16, 0, GREEDY, NONE, 0)).toBe(SLUICE_FAILED);
    expect(lastError()).toBe("Cannot read logits: expected a contiguous f32 tensor");
    native.ggml_backend_buffer_free(buffer);
  });
});

describe("sluice_mapping", () => {
  test("maps a file, fills tensors from pieces of it and places tensors in it", () => {
    const path = join(folder, "numbers");
    const numbers = Float32Array.from({ length: 4096 }, (_, i) => i);
    writeFileSync(path, numbers);
    const mapping = native.sluice_mapping_open(text(path), numbers.byteLength);
    expect(mapping).not.toBe(null);
    expect(native.sluice_mapping_populate(mapping, 0, numbers.byteLength)).toBe(SLUICE_OK);

    const ctx = native.sluice_context_new(1 << 16);
    const joined = native.ggml_new_tensor_1d(ctx, GGML_TYPES.f32.id, 6n);
    const own = native.ggml_backend_buft_alloc_buffer(native.ggml_backend_cpu_buffer_type(), 64n);
    expect(native.sluice_tensor_place(own, joined, 0)).toBe(SLUICE_OK);
    const ranges = new Float64Array([400, 8, 4096, 16]);
    expect(native.sluice_mapping_read(mapping, ranges, 2, joined)).toBe(SLUICE_OK);
    const values = new Float32Array(6);
    native.ggml_backend_tensor_get(joined, values, 0n, 24n);
    expect([...values]).toEqual([100, 101, 1024, 1025, 1026, 1027]);
    expect(native.sluice_mapping_read(mapping, ranges, 1, joined)).toBe(SLUICE_FAILED);
    expect(lastError()).toBe("Cannot fill a tensor of 24 bytes with 8");

    const mapped = native.ggml_new_tensor_1d(ctx, GGML_TYPES.f32.id, 8n);
    const over = native.sluice_mapping_buffer(mapping, 4096, 4096);
    expect(native.sluice_tensor_place(over, mapped, 32)).toBe(SLUICE_OK);
    expect(native.sluice_mapping_discard(mapping, 0, numbers.byteLength)).toBe(SLUICE_OK);
    native.ggml_backend_tensor_get(mapped, values, 0n, 24n);
    expect([...values]).toEqual([1032, 1033, 1034, 1035, 1036, 1037]);

    native.ggml_backend_buffer_free(over);
    native.ggml_backend_buffer_free(own);
    native.ggml_free(ctx);
    expect(native.sluice_mapping_close(mapping)).toBe(SLUICE_OK);
  });

  test("refuses a missing file, another size and a place outside", () => {
    const path = join(folder, "four");
    writeFileSync(path, "four");
    expect(native.sluice_mapping_open(text(join(folder, "none")), 4)).toBe(null);
    expect(lastError()).toMatch(/^Cannot open '.*none': NOENT$/);
    expect(native.sluice_mapping_open(text(path), 5)).toBe(null);
    expect(lastError()).toMatch(/it has 4 bytes, expected 5$/);
    const mapping = native.sluice_mapping_open(text(path), 4);
    for (const [offset, size] of [[0, 5], [5, 0], [-1, 1], [0.5, 1], [NaN, 1], [1, Infinity]]) {
      expect(native.sluice_mapping_populate(mapping, offset!, size!)).toBe(SLUICE_FAILED);
    }
    expect(native.sluice_mapping_buffer(mapping, 1, 2)).toBe(null);
    expect(native.sluice_mapping_close(mapping)).toBe(SLUICE_OK);
    expect(native.sluice_mapping_close(null)).toBe(SLUICE_FAILED);
  });
});

describe("sluice_tensor_place", () => {
  test("refuses a place that is misaligned, too small or taken", () => {
    const ctx = native.sluice_context_new(1 << 16);
    const tensor = native.ggml_new_tensor_1d(ctx, GGML_TYPES.f32.id, 8n);
    const buffer = native.ggml_backend_buft_alloc_buffer(
      native.ggml_backend_cpu_buffer_type(),
      64n,
    );
    for (const offset of [4, 64, 1e9, -32, NaN]) {
      expect(native.sluice_tensor_place(buffer, tensor, offset)).toBe(SLUICE_FAILED);
    }
    expect(native.sluice_tensor_place(null, tensor, 0)).toBe(SLUICE_FAILED);
    expect(native.sluice_tensor_place(buffer, tensor, 32)).toBe(SLUICE_OK);
    expect(native.sluice_tensor_place(buffer, tensor, 0)).toBe(SLUICE_FAILED);
    expect(lastError()).toBe("Cannot place a tensor that has data already");
    native.ggml_backend_buffer_free(buffer);
    native.ggml_free(ctx);
  });
});

describe("sluice_extra_buffer_type", () => {
  test("computes in a layout what plain memory computes", () => {
    const type = GGML_TYPES.q4_0;
    const [n_in, n_out] = [256, 64];
    const bytes = n_in / type.blockSize * type.typeSize * n_out;
    const path = join(folder, "q4_0");
    const weights = Uint8Array.from({ length: bytes }, (_, i) => (i * 37) % 251);
    for (let at = 0; at < bytes; at += type.typeSize) weights.set([0, 0x2c], at); // scale 1/16
    writeFileSync(path, weights);
    const plain = productOf(null, path, bytes, n_in, n_out);
    for (let index = 0;; index++) {
      const layout = native.sluice_extra_buffer_type(index);
      if (layout === null) break;
      const ctx = native.sluice_context_new(1 << 16);
      const weight = native.ggml_new_tensor_2d(ctx, type.id, BigInt(n_in), BigInt(n_out));
      const accepts = native.sluice_buffer_type_accepts(layout, weight);
      native.ggml_free(ctx);
      expect([0, 1]).toContain(accepts);
      if (accepts === 0) continue;
      const packed = productOf(layout, path, bytes, n_in, n_out);
      const error = packed.reduce((sum, x, i) => sum + (x - plain[i]!) ** 2, 0);
      const power = plain.reduce((sum, x) => sum + x ** 2, 0);
      expect(error / power).toBeLessThan(1e-4);
    }
    expect(native.sluice_extra_buffer_type(-1)).toBe(null);
  });

  /** Q4_0 weights of the file, in two pieces, times one row. */
  function productOf(
    layout: Pointer,
    path: string,
    bytes: number,
    n_in: number,
    n_out: number,
  ): Float32Array {
    const weights = native.sluice_context_new(1 << 16);
    const weight = native.ggml_new_tensor_2d(
      weights,
      GGML_TYPES.q4_0.id,
      BigInt(n_in),
      BigInt(n_out),
    );
    const buffer = native.ggml_backend_alloc_ctx_tensors_from_buft(
      weights,
      layout ?? native.ggml_backend_cpu_buffer_type(),
    );
    const mapping = native.sluice_mapping_open(text(path), bytes);
    const half = bytes / 2;
    const pieces = new Float64Array([0, half, half, half]);
    expect(native.sluice_mapping_read(mapping, pieces, 2, weight)).toBe(SLUICE_OK);
    native.sluice_mapping_close(mapping);
    const ctx = native.sluice_context_new(1 << 16);
    const input = native.ggml_new_tensor_1d(ctx, GGML_TYPES.f32.id, BigInt(n_in));
    const output = native.ggml_mul_mat(ctx, weight, input);
    const graph = native.ggml_new_graph_custom(ctx, 16n, false);
    native.ggml_build_forward_expand(graph, output);
    const work = native.ggml_backend_alloc_ctx_tensors_from_buft(
      ctx,
      native.ggml_backend_cpu_buffer_type(),
    );
    const x = Float32Array.from({ length: n_in }, (_, i) => Math.fround(((i * 29) % 17 - 8) / 8));
    native.ggml_backend_tensor_set(input, x, 0n, BigInt(x.byteLength));
    const backend = native.ggml_backend_cpu_init();
    native.ggml_backend_cpu_set_n_threads(backend, 2);
    expect(native.sluice_graph_compute(backend, graph, NONE, NONE, 0)).toBe(SLUICE_OK);
    const values = new Float32Array(n_out);
    native.ggml_backend_tensor_get(output, values, 0n, BigInt(values.byteLength));
    native.ggml_backend_free(backend);
    for (const owned of [work, buffer]) native.ggml_backend_buffer_free(owned);
    for (const owned of [ctx, weights]) native.ggml_free(owned);
    return values;
  }
});

describe("the library", () => {
  test.skipIf(process.platform !== "linux")(
    "stays in the process when it is closed under live threads (needs /proc)",
    async () => {
      const path = join(folder, "libsluice_closed.so");
      copyFileSync(library.path, path);
      const maps = () => readFileSync("/proc/self/maps", "utf8");
      const { symbols: closed, close } = (await loadFfi()).open(path, symbols);
      closed.sluice_abi_version();
      const ctx = closed.sluice_context_new(1 << 20);
      const a = closed.ggml_new_tensor_1d(ctx, GGML_TYPES.f32.id, 64n);
      const graph = closed.ggml_new_graph_custom(ctx, 16n, false);
      closed.ggml_build_forward_expand(graph, closed.ggml_add(ctx, a, a));
      closed.ggml_backend_alloc_ctx_tensors_from_buft(ctx, closed.ggml_backend_cpu_buffer_type());
      const backend = closed.ggml_backend_cpu_init();
      closed.ggml_backend_cpu_set_n_threads(backend, 2);
      expect(closed.sluice_graph_compute(backend, graph, NONE, NONE, 0)).toBe(SLUICE_OK);
      expect(closed.sluice_pool_threads()).toBe(Math.min(2, closed.sluice_cpu_count()) - 1);
      close();
      expect(maps()).toContain(path);
    },
  );

  test("names its CPU variant", () => {
    expect(library.cpuVariant()).toMatch(
      /^(x86_64_v[234]|x86_64_v[34]_vnni|baseline|dotprod)(\+[a-z0-9_]+)*$/,
    );
  });

  test("computes by the CPU variant that it is told, and says which there are", () => {
    const level = () => library.cpuVariant().split("+")[0]!;
    const best = level();
    const least = process.arch === "x64" ? "x86_64_v2" : "baseline";
    try {
      library.useCpuVariant(least);
      expect(level()).toBe(least);
      expect(() => library.useCpuVariant("pentium")).toThrow(
        `Cannot use the kernel variant "pentium": this processor runs ${least}`,
      );
      expect(level()).toBe(least);
    } finally {
      library.useCpuVariant(best);
    }
    expect(level()).toBe(best);
  });

  test("ends its workers on demand and starts them again", () => {
    using product = new Product(32, 32, 1);
    product.compute(2);
    const n_workers = native.sluice_pool_threads();
    expect(n_workers).toBe(Math.min(2, native.sluice_cpu_count()) - 1);
    expect(native.sluice_pool_shutdown()).toBe(0);
    expect(native.sluice_pool_threads()).toBe(0);
    expect(product.compute(2)).toBe(SLUICE_OK);
    expect(native.sluice_pool_threads()).toBe(n_workers);
  });

  test("writes no text where there is no room", () => {
    native.sluice_argmax(null, 0);
    const buffer = new Uint8Array(6);
    const length = native.sluice_last_error(buffer, buffer.length);
    expect(length).toBe("Cannot use logits: it is null".length);
    expect(new TextDecoder().decode(buffer)).toBe("Cannot");
    expect(native.sluice_last_error(buffer, -1)).toBe(length);
  });
});
