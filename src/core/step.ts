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

/** f16 bits of -infinity. */
const MASKED = 0xfc00;

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
    for (const run of neighbours(decode)) {
      const plan = this.#decode(run, cancellation);
      if (!plan) return undefined;
      run.forEach((sequence, row) => tokens.push(this.#sample(plan, row, sequence)));
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

  /** One token of each of several neighbouring streams. */
  #decode(run: Sequence[], cancellation: Cancellation): Plan | undefined {
    const n = run.length;
    const stream0 = run[0]!.stream;
    let n_kv = 0;
    for (const s of run) n_kv = Math.max(n_kv, this.#cache.reserve(s.stream, s.n_past + 1));
    // The other streams of the run are read as far as the longest one.
    for (const s of run) this.#cache.reserve(s.stream, n_kv);
    const plan = this.#plans.get({ n_tokens: n, n_streams: n, stream0, n_kv, n_outputs: n });
    const mask = new Uint16Array(n * n_kv).fill(MASKED);
    run.forEach((s, i) => mask.fill(0, i * n_kv, i * n_kv + s.n_past + 1));
    plan.set("tokens", Int32Array.from(run, (s) => s.tokens[s.n_past]!));
    plan.set("pos", Int32Array.from(run, (s) => s.n_past));
    plan.set(
      "kv_rows",
      BigInt64Array.from(run, (s) => BigInt(this.#cache.row(s.stream, s.n_past))),
    );
    plan.set("kq_mask", mask);
    return plan.compute(cancellation) ? plan : undefined;
  }

  /** A piece of one prompt. */
  #prefill({ sequence, end, last }: PrefillPiece, cancellation: Cancellation): Plan | undefined {
    const { stream, n_past } = sequence;
    const n = end - n_past;
    const n_kv = this.#cache.reserve(stream, end);
    const n_outputs = last ? 1 : 0;
    const plan = this.#plans.get({ n_tokens: n, n_streams: 1, stream0: stream, n_kv, n_outputs });
    const mask = new Uint16Array(n * n_kv).fill(MASKED);
    for (let i = 0; i < n; i++) mask.fill(0, i * n_kv, i * n_kv + n_past + i + 1);
    const row = BigInt(this.#cache.row(stream, n_past));
    plan.set("tokens", Int32Array.from(sequence.tokens.slice(n_past, end)));
    plan.set("pos", Int32Array.from({ length: n }, (_, i) => n_past + i));
    plan.set("kv_rows", BigInt64Array.from({ length: n }, (_, i) => row + BigInt(i)));
    plan.set("kq_mask", mask);
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

/** Splits sequences in order of stream into runs without gaps. */
function neighbours(sequences: Sequence[]): Sequence[][] {
  const runs: Sequence[][] = [];
  for (const sequence of sequences) {
    const run = runs.at(-1);
    if (run && run.at(-1)!.stream + 1 === sequence.stream) run.push(sequence);
    else runs.push([sequence]);
  }
  return runs;
}
