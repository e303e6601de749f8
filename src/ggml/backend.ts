/**
 * Backend: the CPU that computes plans, and the plans that it computes.
 *
 * @module
 */
import { DisposedError } from "../errors.ts";
import type { Lowered } from "../graph/lower.ts";
import type { BatchShape } from "../graph/plan.ts";
import type { Pointer } from "../runtime/ffi.ts";
import { type CacheLayers, emit, NODES_PER_OP } from "./emit.ts";
import type { Library } from "./library.ts";
import { SLUICE_ABORTED } from "./symbols.generated.ts";
import type { Weights } from "./weights.ts";

/** Says which sequences of a computation were cancelled; it stops early once all of them are. */
export interface Cancellation {
  /** A flag for each cache stream, shared with whoever cancels. */
  flags: Int32Array;
  /** The streams of this computation. */
  members: Int32Array;
}

const NEVER: Cancellation = { flags: new Int32Array(1), members: new Int32Array(0) };

/** ggml's CPU backend with a number of threads. */
export class Backend implements Disposable {
  readonly library: Library;
  #backend: Pointer;

  constructor(library: Library, n_threads: number) {
    this.library = library;
    this.#backend = library.handle(library.native.ggml_backend_cpu_init(), "start the CPU backend");
    library.native.ggml_backend_cpu_set_n_threads(this.#backend, n_threads);
  }

  /**
   * Computes a graph.
   *
   * @returns false when it was aborted because every member is cancelled
   * @throws {LibraryError} when the computation fails
   */
  compute(graph: Pointer, { flags, members }: Cancellation = NEVER): boolean {
    if (this.#backend === null) throw new DisposedError("the CPU backend");
    const { library } = this;
    const status = library.native.sluice_graph_compute(
      this.#backend,
      graph,
      flags,
      members,
      members.length,
    );
    return library.check(status, "compute a batch") !== SLUICE_ABORTED;
  }

  [Symbol.dispose](): void {
    if (this.#backend !== null) this.library.native.ggml_backend_free(this.#backend);
    this.#backend = null;
  }
}

/** What a plan is made of beside its graph. */
export interface PlanParts {
  weights: Pick<Weights, "get">;
  cache: CacheLayers;
  flashAttention: boolean;
}

/** A graph in native memory with its allocation; only its inputs change between computations. */
export class Plan implements Disposable {
  readonly shape: BatchShape;
  /** Native memory that it takes. */
  readonly bytes: number;
  readonly #backend: Backend;
  readonly #inputs: Map<string, Pointer>;
  readonly #output: Pointer;
  readonly #graph: Pointer;
  #ctx: Pointer;
  #galloc: Pointer;

  constructor(backend: Backend, lowered: Lowered, shape: BatchShape, parts: PlanParts) {
    const { library } = backend;
    const { native } = library;
    const n_nodes = lowered.nodes.length * NODES_PER_OP;
    this.shape = shape;
    this.#backend = backend;
    this.#ctx = library.handle(
      native.sluice_context_new(
        Number(native.ggml_tensor_overhead()) * n_nodes +
          Number(native.ggml_graph_overhead_custom(BigInt(n_nodes), false)),
      ),
      "make the context of a plan",
    );
    this.#graph = native.ggml_new_graph_custom(this.#ctx, BigInt(n_nodes), false);
    const { inputs, output } = emit(lowered, {
      library,
      ctx: this.#ctx,
      graph: this.#graph,
      shape,
      cache: parts.cache,
      flashAttention: parts.flashAttention,
      weight: (names, use) => parts.weights.get(names, use),
    });
    this.#inputs = inputs;
    this.#output = output;
    this.#galloc = native.ggml_gallocr_new(native.ggml_backend_cpu_buffer_type());
    if (!native.ggml_gallocr_alloc_graph(this.#galloc, this.#graph)) {
      this[Symbol.dispose]();
      library.handle(null, `allocate a plan for ${shape.n_tokens} tokens, free memory`);
    }
    this.bytes = Number(native.ggml_used_mem(this.#ctx)) +
      Number(native.ggml_gallocr_get_buffer_size(this.#galloc, 0));
  }

  /** Whether the graph reads an input of that name. */
  reads(name: string): boolean {
    return this.#inputs.has(name);
  }

  /** Sets an input; one that the graph does not read is left out. */
  set(name: string, data: ArrayBufferView): void {
    const tensor = this.#inputs.get(name);
    if (tensor === undefined) return;
    this.#backend.library.native.ggml_backend_tensor_set(
      tensor,
      data,
      0n,
      BigInt(data.byteLength),
    );
  }

  /** Computes; false when aborted. */
  compute(cancellation?: Cancellation): boolean {
    return this.#backend.compute(this.#graph, cancellation);
  }

  /** The logits, f32 [n_vocab, n_outputs]. Null when the plan has no output. */
  get output(): Pointer {
    return this.#output;
  }

  /** Copies the logits into `into`. */
  read(into: Float32Array): void {
    this.#backend.library.native.ggml_backend_tensor_get(
      this.#output,
      into,
      0n,
      BigInt(into.byteLength),
    );
  }

  [Symbol.dispose](): void {
    const { native } = this.#backend.library;
    if (this.#galloc !== null) native.ggml_gallocr_free(this.#galloc);
    if (this.#ctx !== null) native.ggml_free(this.#ctx);
    this.#galloc = this.#ctx = null;
  }
}
