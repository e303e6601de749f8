/**
 * KvCache: keys and values of every layer, one stream of cells for each sequence that runs.
 *
 * Owns its native memory. Pages are only touched once a stream has grown into them.
 *
 * @module
 */
import type { CacheLayers } from "../ggml/emit.ts";
import type { Library } from "../ggml/library.ts";
import { type_id, type_size } from "../ggml/tensor.ts";
import type { Pointer } from "../runtime/ffi.ts";

/** Attention reads cells in steps of this many, so that plans stay valid for as many tokens. */
export const CELLS_STEP = 256;

/** Sizes of a cache. */
export interface KvCacheOptions {
  n_layer: number;
  /** n_embd_head * n_head_kv */
  n_embd_kv: number;
  /** Tokens that one stream holds. */
  n_ctx: number;
  n_streams: number;
  /** Element type. Default f16. */
  type?: "f16" | "f32";
}

/** Keys and values of `n_streams` sequences. */
export class KvCache implements CacheLayers, Disposable {
  readonly k: Pointer[] = [];
  readonly v: Pointer[] = [];
  readonly type: "f16" | "f32";
  readonly n_cells: number;
  readonly #library: Library;
  readonly #ctx: Pointer;
  readonly #buffer: Pointer;
  readonly #rowBytes: number;
  /**
   * Cells of each stream that were zeroed: attention multiplies masked cells too, and 0 * NaN is
   * NaN.
   */
  readonly #zeroed: Int32Array;

  constructor(library: Library, options: KvCacheOptions) {
    const { n_layer, n_embd_kv, n_ctx, n_streams } = options;
    const native = library.native;
    this.#library = library;
    this.type = options.type ?? "f16";
    this.n_cells = Math.ceil(n_ctx / CELLS_STEP) * CELLS_STEP;
    this.#rowBytes = n_embd_kv * type_size(this.type);
    this.#zeroed = new Int32Array(n_streams);
    const overhead = Number(native.ggml_tensor_overhead());
    this.#ctx = library.handle(
      native.sluice_context_new(overhead * (2 * n_layer + 1)),
      "make the cache's context",
    );
    const rows = BigInt(this.n_cells * n_streams);
    for (let il = 0; il < n_layer; il++) {
      for (const layers of [this.k, this.v]) {
        layers.push(
          native.ggml_new_tensor_2d(this.#ctx, type_id(this.type), BigInt(n_embd_kv), rows),
        );
      }
    }
    this.#buffer = native.ggml_backend_alloc_ctx_tensors_from_buft(
      this.#ctx,
      native.ggml_backend_cpu_buffer_type(),
    );
    if (this.#buffer === null) native.ggml_free(this.#ctx);
    library.handle(
      this.#buffer,
      `allocate the cache of ${n_streams} x ${n_ctx} tokens, lower --ctx-size or --parallel`,
    );
  }

  /** Bytes that the cache may grow to. */
  get bytes(): number {
    return 2 * this.k.length * this.#rowBytes * this.n_cells * this.#zeroed.length;
  }

  /**
   * Makes the first `n` cells of a stream readable; returns `n` rounded up to what attention reads.
   */
  reserve(stream: number, n: number): number {
    const n_kv = Math.min(Math.ceil(n / CELLS_STEP) * CELLS_STEP, this.n_cells);
    const zeroed = this.#zeroed[stream] ?? 0;
    if (n_kv > zeroed) {
      const native = this.#library.native;
      const offset = BigInt((stream * this.n_cells + zeroed) * this.#rowBytes);
      const size = BigInt((n_kv - zeroed) * this.#rowBytes);
      for (const layers of [this.k, this.v]) {
        for (const cells of layers) native.ggml_backend_tensor_memset(cells, 0, offset, size);
      }
      this.#zeroed[stream] = n_kv;
    }
    return n_kv;
  }

  /** Row of the cache that holds token `pos` of a stream. */
  row(stream: number, pos: number): number {
    return stream * this.n_cells + pos;
  }

  [Symbol.dispose](): void {
    this.#library.native.ggml_backend_buffer_free(this.#buffer);
    this.#library.native.ggml_free(this.#ctx);
  }
}
