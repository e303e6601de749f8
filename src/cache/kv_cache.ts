/**
 * KvCache: keys and values of every layer in a pool of blocks of cells. A sequence is a list of
 * blocks, taken as it grows and given back when it ends.
 *
 * Owns its native memory. Pages are only touched once tokens were written to them.
 *
 * @module
 */
import { LibraryError } from "../errors.ts";
import { BLOCK_CELLS, type CacheLayers, type CellType } from "../ggml/emit.ts";
import type { Library } from "../ggml/library.ts";
import { row_size, type_id } from "../ggml/tensor.ts";
import type { Pointer } from "../runtime/ffi.ts";

/** Attention reads blocks in steps of this many, so that plans stay valid for as many tokens. */
const BLOCKS_STEP = 4;

/** Sizes of a cache. */
export interface KvCacheOptions {
  n_layer: number;
  /** n_embd_head * n_head_kv */
  n_embd_kv: number;
  /** Tokens that one sequence holds. */
  n_ctx: number;
  /** Sequences that there is room for. */
  n_streams: number;
  /** Type of the cells. Default f16. */
  type?: CellType;
}

/** The next tokens of one sequence. */
export interface Span {
  /** Blocks of the sequence in order; the cache adds to them. */
  readonly blocks: number[];
  /** Tokens before these. */
  n_past: number;
  n_tokens: number;
}

/** What takes the inputs of attention: a plan. */
export interface Inputs {
  /** Whether it wants an input of that name. */
  reads(name: string): boolean;
  set(name: string, data: ArrayBufferView): void;
}

/** f16 bits of -infinity. */
const MASKED = 0xfc00;

/** Keys and values of `n_streams` sequences. */
export class KvCache implements CacheLayers, Disposable {
  readonly k: Pointer[] = [];
  readonly v: Pointer[] = [];
  readonly type: CellType;
  /** Bytes that the cache may grow to. */
  readonly bytes: number;
  readonly #library: Library;
  readonly #ctx: Pointer;
  readonly #buffer: Pointer;
  /** The one that was given back last is taken first: its pages are there. */
  readonly #free: number[];

  constructor(library: Library, options: KvCacheOptions) {
    const { n_layer, n_embd_kv, n_ctx, n_streams } = options;
    const native = library.native;
    this.#library = library;
    this.type = options.type ?? "f16";
    if (this.type === "q8_0" && n_embd_kv % 32 !== 0) {
      throw new LibraryError(
        `Cannot make a cache of q8_0: a cell has ${n_embd_kv} values, expected a multiple of 32, ` +
          "use --cache-type f16",
      );
    }
    const n_blocks = Math.ceil(n_ctx / BLOCK_CELLS) * n_streams;
    this.#free = Array.from({ length: n_blocks }, (_, i) => n_blocks - 1 - i);
    const n_cells = n_blocks * BLOCK_CELLS;
    this.bytes = 2 * n_layer * n_cells * row_size(this.type, n_embd_kv);
    const overhead = Number(native.ggml_tensor_overhead());
    this.#ctx = library.handle(
      native.sluice_context_new(overhead * (2 * n_layer + 1)),
      "make the cache's context",
    );
    for (let il = 0; il < n_layer; il++) {
      for (const layers of [this.k, this.v]) {
        layers.push(
          native.ggml_new_tensor_2d(
            this.#ctx,
            type_id(this.type),
            BigInt(n_embd_kv),
            BigInt(n_cells),
          ),
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

  /** Blocks that no sequence has. */
  get n_free(): number {
    return this.#free.length;
  }

  /**
   * Adds to the blocks of each sequence what its tokens need.
   *
   * @returns blocks of a sequence that a plan for these tokens reads, rounded up
   * @throws {LibraryError} when no block is left
   */
  reserve(spans: readonly Span[]): number {
    let n_blocks = 0;
    for (const { blocks, n_past, n_tokens } of spans) {
      const needed = Math.ceil((n_past + n_tokens) / BLOCK_CELLS);
      while (blocks.length < needed) blocks.push(this.#take());
      n_blocks = Math.max(n_blocks, needed);
    }
    return Math.ceil(n_blocks / BLOCKS_STEP) * BLOCKS_STEP;
  }

  #take(): number {
    const block = this.#free.pop();
    if (block !== undefined) return block;
    throw new LibraryError(
      "Cannot take a block of the cache: all are taken, expected no more tokens than the cache " +
        "was made for",
    );
  }

  /** Takes the blocks of a sequence back and empties its list. */
  release(blocks: number[]): void {
    this.#free.push(...blocks.splice(0).reverse());
  }

  /** Row of the cache that holds token `pos` of a sequence. */
  row(blocks: readonly number[], pos: number): number {
    return blocks[Math.floor(pos / BLOCK_CELLS)]! * BLOCK_CELLS + pos % BLOCK_CELLS;
  }

  /**
   * Tells a plan for `n_blocks` blocks of each sequence where its tokens go and what they see. All
   * spans have the same number of tokens.
   */
  place(plan: Inputs, spans: readonly Span[], n_blocks: number): void {
    const each = <T>(value: (span: Span, pos: number) => T): T[] =>
      spans.flatMap((span) =>
        Array.from({ length: span.n_tokens }, (_, i) => value(span, span.n_past + i))
      );
    const rows = each(({ blocks }, pos) => BigInt(this.row(blocks, pos)));
    plan.set("kv_rows", BigInt64Array.from(rows));
    if (plan.reads("kv_blocks")) {
      const table = new Int32Array(n_blocks * spans.length);
      spans.forEach(({ blocks }, i) => table.set(blocks.slice(0, n_blocks), i * n_blocks));
      plan.set("kv_blocks", table);
      plan.set("kv_seen", Int32Array.from(each((_, pos) => pos + 1)));
    }
    if (plan.reads("kv_cells")) this.#placeDense(plan, spans, n_blocks * BLOCK_CELLS);
  }

  /** The same for ggml's attention, which reads a sequence in one piece and under a mask. */
  #placeDense(plan: Inputs, spans: readonly Span[], n_kv: number): void {
    // What is behind the last token is masked and must be a number: the first cell is one.
    const cells = spans.flatMap(({ blocks, n_past, n_tokens }) =>
      Array.from({ length: n_kv }, (_, pos) => this.row(blocks, pos < n_past + n_tokens ? pos : 0))
    );
    plan.set("kv_cells", Int32Array.from(cells));
    const n_tokens = spans.reduce((sum, span) => sum + span.n_tokens, 0);
    const mask = new Uint16Array(n_tokens * n_kv).fill(MASKED);
    let token = 0;
    for (const span of spans) {
      for (let i = 1; i <= span.n_tokens; i++, token++) {
        mask.fill(0, token * n_kv, token * n_kv + span.n_past + i);
      }
    }
    plan.set("kq_mask", mask);
  }

  [Symbol.dispose](): void {
    this.#library.native.ggml_backend_buffer_free(this.#buffer);
    this.#library.native.ggml_free(this.#ctx);
  }
}
