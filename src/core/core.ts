/**
 * Core: a loaded model with its weights, cache and plans; runs one tick at a time.
 *
 * Owns all native memory. Knows no messages: `worker.ts` puts it behind a port.
 *
 * @module
 */
import { KvCache } from "../cache/kv_cache.ts";
import type {
  CoreInfo,
  CoreOptions,
  CoreStats,
  Prefilled,
  Sampled,
  SequenceChange,
  SubmitMessage,
} from "../engine/protocol.ts";
import { ModelError } from "../errors.ts";
import { Backend, Plan } from "../ggml/backend.ts";
import { attends } from "../ggml/emit.ts";
import { Library } from "../ggml/library.ts";
import { type LoadProgress, packsOf, Weights } from "../ggml/weights.ts";
import { readGguf } from "../gguf/reader.ts";
import { cpuRewrites } from "../graph/lower.ts";
import { type BatchShape, PlanCache, planGraph } from "../graph/plan.ts";
import type { WeightLookup } from "../graph/record.ts";
import { architecture } from "../models/mod.ts";
import { type Batch, Scheduler } from "./scheduler.ts";
import { Stepper } from "./step.ts";
import { expectTensors, weightLookup } from "./tensors.ts";

/**
 * Bytes that plans may take. Eight streams that begin and end one after the other go through some
 * twenty small plans, and building one takes a good part of the time of a step.
 */
const PLAN_BYTES_MAX = 64 << 20;

/** A loaded model that runs batches. */
export class Core implements Disposable {
  readonly info: CoreInfo;
  readonly #scheduler: Scheduler;
  readonly #cache: KvCache;
  readonly #stepper: Stepper;
  readonly #cancelled: Int32Array;
  readonly #plans: PlanCache<Plan>;
  readonly #resources: DisposableStack;
  #prefilled: Prefilled | undefined;

  private constructor(
    info: CoreInfo,
    scheduler: Scheduler,
    stepper: Stepper,
    cache: KvCache,
    plans: PlanCache<Plan>,
    cancelled: Int32Array,
    resources: DisposableStack,
  ) {
    this.info = info;
    this.#scheduler = scheduler;
    this.#stepper = stepper;
    this.#cache = cache;
    this.#cancelled = cancelled;
    this.#plans = plans;
    this.#resources = resources;
  }

  /**
   * Loads a model.
   *
   * @param cancelled a flag for each stream, see `Cancellation`
   * @throws {GgufError | ModelError | LibraryError}
   */
  static async load(
    options: CoreOptions,
    cancelled: Int32Array,
    onProgress?: LoadProgress,
  ): Promise<Core> {
    using resources = new DisposableStack();
    const gguf = readGguf(options.path);
    const arch = architecture(gguf.metadata.str("general.architecture"));
    const hp = arch.hparams(gguf.metadata, gguf.metadata.strings("tokenizer.ggml.tokens").length);
    expectTensors(gguf, arch.tensors(hp));
    const n_ctx = options.n_ctx || hp.n_ctx_train;
    if (n_ctx > hp.n_ctx_train) {
      throw new ModelError(
        `Cannot load the model with a context of ${n_ctx} tokens: it was trained for ${hp.n_ctx_train}, lower --ctx-size`,
      );
    }

    const library = resources.use(await Library.open());
    if (options.kernelVariant !== undefined) library.useCpuVariant(options.kernelVariant);
    const backend = resources.use(new Backend(library, options.n_threads));
    const lookup: WeightLookup = weightLookup(gguf);
    const { n_streams, cacheType, flashAttention } = options;
    const own = attends(library, flashAttention, cacheType, hp.n_embd_head);
    const rewrites = options.fused ? cpuRewrites(packsOf(library, options), own) : [];
    const lowered = (shape: BatchShape) =>
      planGraph((g, inputs) => arch.graph(g, hp, inputs), shape, lookup, rewrites);
    const weights = resources.use(
      Weights.load(library, gguf, lowered(ONE_TOKEN), {
        repack: options.repack,
        ...(options.packedDir !== undefined && { packedDir: options.packedDir }),
        ...(onProgress && { onProgress }),
      }),
    );
    const cache = resources.use(
      new KvCache(library, {
        n_layer: hp.n_layer,
        n_embd_kv: hp.n_embd_head * hp.n_head_kv,
        n_ctx,
        n_streams,
        type: cacheType,
      }),
    );
    const plans = resources.use(
      new PlanCache(
        (shape) => new Plan(backend, lowered(shape), shape, { weights, cache, flashAttention }),
        PLAN_BYTES_MAX,
      ),
    );
    const info: CoreInfo = {
      n_ctx,
      n_streams,
      n_threads: options.n_threads,
      cpuVariant: library.cpuVariant(),
      copiedBytes: weights.copiedBytes,
      keptBytes: weights.keptBytes,
      ...(weights.keepingFault !== undefined && { keepingFault: weights.keepingFault }),
      cacheBytes: cache.bytes,
    };
    // ggml's attention copies all cells of a sequence for each of its tokens.
    const scheduler = new Scheduler({ n_streams, n_ctx, ...(!own && { n_short: 0 }) });
    const stepper = new Stepper(library, cache, plans, cancelled);
    return new Core(info, scheduler, stepper, cache, plans, cancelled, resources.move());
  }

  /** Takes a new sequence. */
  submit(message: SubmitMessage): void {
    this.#scheduler.submit(message);
  }

  /** Lets a sequence sample up to `upTo` tokens in all. */
  credit(id: number, upTo: number): void {
    this.#scheduler.credit(id, upTo);
  }

  /** Changes a sequence that runs or waits. */
  steer(id: number, change: SequenceChange): void {
    this.#scheduler.steer(id, change);
  }

  /** Drops a sequence. */
  cancel(id: number): void {
    this.#scheduler.cancel(id);
  }

  /** What it does at the moment. */
  get stats(): CoreStats {
    const { running, waiting } = this.#scheduler;
    return { running, waiting, plans: this.#plans.size };
  }

  /**
   * Sequences that got a stream since the last call, with the stream; their prompts are computed
   * from now on.
   */
  admit(): [id: number, stream: number][] {
    return this.#scheduler.admit().map(({ id, stream }) => {
      // A flag that was set for an earlier sequence of the stream means nothing to the new one.
      Atomics.store(this.#cancelled, stream, 0);
      return [id, stream];
    });
  }

  /** Runs one tick and gives what it sampled; undefined when nothing can run. */
  tick(): Sampled[] | undefined {
    this.#prefilled = undefined;
    for (const { blocks } of this.#scheduler.ended()) this.#cache.release(blocks);
    const batch = this.#scheduler.next();
    if (!batch) return undefined;
    const result = this.#stepper.run(batch);
    if (!result) return [];
    this.#prefilled = prefilledBy(batch);
    return this.#scheduler.commit(batch, result.tokens, result.times);
  }

  /** The prompt that the last tick computed a piece of, where somebody wants to know. */
  get prefilled(): Prefilled | undefined {
    return this.#prefilled;
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}

/** Every plan reads the same weights; this one is recorded to learn which. */
const ONE_TOKEN: BatchShape = { n_tokens: 1, n_streams: 1, n_blocks: 1, n_outputs: 1 };

/** The token that the last piece brings says more than that it was the last. */
function prefilledBy({ prefill }: Batch): Prefilled | undefined {
  if (prefill === undefined || prefill.last || !prefill.sequence.tellsPrefill) return undefined;
  return { id: prefill.sequence.id, n_past: prefill.end };
}
