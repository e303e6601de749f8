/**
 * Step: one tick on the native side. Batch -> plan -> inputs -> compute -> sample.
 *
 * @module
 */
import type { KvCache } from "../cache/kv_cache.ts";
import type { Cancellation, Plan } from "../ggml/backend.ts";
import type { Library } from "../ggml/library.ts";
import type { PlanCache } from "../graph/plan.ts";
import type { Batch, PrefillPiece, TickTimes } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";

/** What a finished tick gives back. */
export interface StepResult {
  /** One token for each decoding sequence in order, then one for a prompt that ended. */
  tokens: number[];
  times: TickTimes;
}

/** Runs batches. Keeps the buffers that inputs are written from. */
export class Stepper {
  readonly #library: Library;
  readonly #cache: KvCache;
  readonly #plans: PlanCache<Plan>;
  /** Written by whoever cancels, see `Cancellation`. */
  readonly #cancelled: Int32Array;

  constructor(
    library: Library,
    cache: KvCache,
    plans: PlanCache<Plan>,
    cancelled: Int32Array,
  ) {
    this.#library = library;
    this.#cache = cache;
    this.#plans = plans;
    this.#cancelled = cancelled;
  }

  /** Computes a batch; undefined when it was aborted because all its sequences were cancelled. */
  run({ decode, prefill }: Batch): StepResult | undefined {
    const streams = decode.map((s) => s.stream);
    if (prefill) streams.push(prefill.sequence.stream);
    const cancellation = { flags: this.#cancelled, members: Int32Array.from(streams) };
    const tokens: number[] = [];
    const start = performance.now();
    if (decode.length > 0) {
      const plan = this.#decode(decode, cancellation);
      if (!plan) return undefined;
      decode.forEach((sequence, row) => tokens.push(this.#sample(plan, row, sequence)));
    }
    const decoded = performance.now();
    if (prefill) {
      const plan = this.#prefill(prefill, cancellation);
      if (!plan) return undefined;
      if (prefill.last) tokens.push(this.#sample(plan, 0, prefill.sequence));
    }
    const times = { decodeMs: decoded - start, prefillMs: performance.now() - decoded };
    return { tokens, times };
  }

  /** One token of each of several sequences. */
  #decode(sequences: readonly Sequence[], cancellation: Cancellation): Plan | undefined {
    const n = sequences.length;
    const spans = sequences.map(({ blocks, n_past }) => ({ blocks, n_past, n_tokens: 1 }));
    const n_blocks = this.#cache.reserve(spans);
    const plan = this.#plans.get({ n_tokens: n, n_streams: n, n_blocks, n_outputs: n });
    plan.set("tokens", Int32Array.from(sequences, (s) => s.tokens[s.n_past]!));
    plan.set("pos", Int32Array.from(sequences, (s) => s.n_past));
    this.#cache.place(plan, spans, n_blocks);
    return plan.compute(cancellation) ? plan : undefined;
  }

  /** A piece of one prompt. */
  #prefill({ sequence, end, last }: PrefillPiece, cancellation: Cancellation): Plan | undefined {
    const { blocks, n_past } = sequence;
    const n = end - n_past;
    const spans = [{ blocks, n_past, n_tokens: n }];
    const n_blocks = this.#cache.reserve(spans);
    const n_outputs = last ? 1 : 0;
    const plan = this.#plans.get({ n_tokens: n, n_streams: 1, n_blocks, n_outputs });
    plan.set("tokens", Int32Array.from(sequence.tokens.slice(n_past, end)));
    plan.set("pos", Int32Array.from({ length: n }, (_, i) => n_past + i));
    this.#cache.place(plan, spans, n_blocks);
    plan.set("out_rows", Int32Array.of(n - 1));
    return plan.compute(cancellation) ? plan : undefined;
  }

  #sample(plan: Plan, row: number, sequence: Sequence): number {
    sequence.sampling[POSITION] = sequence.n_sampled;
    // Without a penalty nothing reads the history.
    const history = sequence.sampling[REPEAT_PENALTY] === 1 ? NO_HISTORY : sequence.history();
    return this.#library.check(
      this.#library.native.sluice_sample(
        plan.output,
        row,
        sequence.sampling,
        history,
        history.length,
      ),
      "sample a token",
    );
  }
}

/** Places in the record of `sluice_sample`. */
const REPEAT_PENALTY = 4;
const POSITION = 6;
const NO_HISTORY = new Int32Array(0);
