/**
 * Step: one tick on the native side. Batch -> plan -> inputs -> compute -> sample.
 *
 * In a shared pass every token is a stream of its own to attention, whichever sequence it is of:
 * all keys and values of a pass are in the cache before its first token attends.
 *
 * @module
 */
import type { KvCache, Span } from "../cache/kv_cache.ts";
import type { Cancellation, Plan } from "../ggml/backend.ts";
import type { Library } from "../ggml/library.ts";
import type { PlanCache } from "../graph/plan.ts";
import type { Batch, PrefillPiece, TickTimes } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";

/** What a finished tick gives back. */
export interface StepResult {
  /**
   * One for each decoding sequence in order, then one for each short prompt, then one for a piece
   * that ended its prompt.
   */
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
  run({ decode, shorts, prefill }: Batch): StepResult | undefined {
    const sharing = [...decode, ...shorts];
    const all = prefill ? [...sharing, prefill.sequence] : sharing;
    const members = Int32Array.from(all, ({ stream }) => stream);
    const cancellation = { flags: this.#cancelled, members };
    const tokens: number[] = [];
    const start = performance.now();
    if (sharing.length > 0) {
      const sampled = this.#share(sharing, shorts.length > 0, cancellation);
      if (!sampled) return undefined;
      tokens.push(...sampled);
    }
    const shared = performance.now();
    if (prefill) {
      const plan = this.#prefill(prefill, cancellation);
      if (!plan) return undefined;
      if (prefill.last) tokens.push(this.#sample(plan, 0, prefill.sequence));
    }
    return { tokens, times: { sharedMs: shared - start, prefillMs: performance.now() - shared } };
  }

  /** All tokens of several sequences that are not in the cache yet, and the next one of each. */
  #share(
    sequences: readonly Sequence[],
    isPadded: boolean,
    cancellation: Cancellation,
  ): number[] | undefined {
    const spans: Span[] = [];
    const ids: number[] = [];
    const rows: number[] = []; // of the last token of each sequence
    for (const { blocks, tokens, n_past } of sequences) {
      for (let pos = n_past; pos < tokens.length; pos++) {
        spans.push({ blocks, n_past: pos, n_tokens: 1 });
        ids.push(tokens[pos]!);
      }
      rows.push(spans.length - 1);
    }
    // Prompts have any length, and building a plan takes as long as some tokens: round sizes come
    // back.
    const n_tokens = isPadded ? Math.ceil(ids.length / PADDED_TO) * PADDED_TO : ids.length;
    const n_outputs = isPadded ? Math.min(powerOfTwo(rows.length), n_tokens) : rows.length;
    // The last token once more: its row has the same bits, so that threads write the same bytes to
    // the same cell, in any order. Nobody reads what it gives.
    const places = padded(spans, n_tokens);
    const n_blocks = this.#cache.reserve(spans);
    const plan = this.#plans.get({ n_tokens, n_streams: n_tokens, n_blocks, n_outputs });
    plan.set("tokens", Int32Array.from(padded(ids, n_tokens)));
    plan.set("pos", Int32Array.from(places, ({ n_past }) => n_past));
    this.#cache.place(plan, places, n_blocks);
    plan.set("out_rows", Int32Array.from(padded(rows, n_outputs)));
    if (!plan.compute(cancellation)) return undefined;
    // Where all tokens give logits, none are chosen.
    const isChosen = plan.reads("out_rows");
    return sequences.map((s, i) => this.#sample(plan, isChosen ? i : rows[i]!, s));
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

/** Tokens of a shared pass with prompts are a multiple of it. */
const PADDED_TO = 8;

/** The first that is no less than n, n > 0. */
function powerOfTwo(n: number): number {
  return 1 << (32 - Math.clz32(n - 1));
}

/** A list whose last item is repeated until it has `n`. */
function padded<T>(list: readonly T[], n: number): T[] {
  return Array.from({ length: n }, (_, i) => list[Math.min(i, list.length - 1)]!);
}

/** Places in the record of `sluice_sample`. */
const REPEAT_PENALTY = 4;
const POSITION = 6;
const NO_HISTORY = new Int32Array(0);
