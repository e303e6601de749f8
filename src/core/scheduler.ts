/**
 * Scheduler: which tokens of which sequences are computed next. Continuous batching as a pure state
 * machine.
 *
 * No I/O, no clock, no await: the same calls give the same batches. State is committed only by a
 * finished tick. A tick has one token of every sequence that decodes and has credit, and in order
 * of arrival as much of the prompts as lets it end near its budget by the measured speed:
 *
 * - A short rest of a prompt joins the pass of those that decode, as a whole.
 * - The first one that cannot is the last of the tick. A long one gets a piece in a pass of its
 *   own, of the time that is left; a short one behind others waits for the next tick.
 * - The oldest one never waits: it gets a small piece where no time is left, and as much as a batch
 *   holds where nothing else runs.
 *
 * @module
 */
import type { Sampled, SequenceChange, SubmitMessage } from "../engine/protocol.ts";
import { Sequence } from "./sequence.ts";

/** Limits of a scheduler. */
export interface SchedulerOptions {
  /** Sequences that run at once. */
  n_streams: number;
  /** Tokens that one sequence can hold. */
  n_ctx: number;
  /** Milliseconds that a tick with decoding sequences should take. Default 30. */
  tickMs?: number;
  /** Most tokens of prompts in one tick. Default 512. */
  n_batch?: number;
  /** Most tokens of a prompt that shares a pass. Default 64; 0 where each has one of its own. */
  n_short?: number;
}

/** A piece of a prompt. */
export interface PrefillPiece {
  sequence: Sequence;
  /** Tokens `sequence.n_past` up to here, exclusive. */
  end: number;
  /** The prompt ends here, so its next token is sampled. */
  last: boolean;
}

/** What one tick computes, in up to two passes. */
export interface Batch {
  /** Sequences that decode one token each. */
  decode: Sequence[];
  /** Sequences whose prompts are computed to their end in the same pass. */
  shorts: Sequence[];
  /** In a pass of its own, after the other. */
  prefill: PrefillPiece | undefined;
}

/** How long the two passes of a tick took, in milliseconds. */
export interface TickTimes {
  sharedMs: number;
  prefillMs: number;
}

/** Pieces are multiples of it: round sizes come back, and a plan is kept for each size. */
const PIECE_STEP = 16;
/**
 * Most tokens of a shared pass times cells of its longest sequence: attention keeps a sum for each
 * token and block, up to as many blocks as that sequence has.
 */
const SHARED_CELLS_MAX = 1 << 17;
/** A prompt's token takes some time, whatever was measured. */
const MS_PER_TOKEN_MIN = 1e-3;
/** Weight of the newest measurement in a running mean. */
const NEWEST = 0.25;

/** Decides what is computed; see the module. */
export class Scheduler {
  readonly #n_ctx: number;
  readonly #tickMs: number;
  readonly #n_batch: number;
  readonly #n_short: number;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  readonly #freeStreams: number[];
  #ended: Sequence[] = [];
  #decodeMs = 0;
  #msPerPromptToken = 1;

  constructor(options: SchedulerOptions) {
    const { n_streams, n_ctx, tickMs = 30, n_batch = 512, n_short = 64 } = options;
    this.#n_ctx = n_ctx;
    this.#tickMs = tickMs;
    this.#n_batch = n_batch;
    this.#n_short = n_short;
    this.#freeStreams = Array.from({ length: n_streams }, (_, i) => i);
  }

  /** Sequences that wait for a stream. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Sequences that hold a stream, paused ones included. */
  get running(): number {
    return this.#running.length;
  }

  /** Takes a new sequence; it runs when a stream is free. */
  submit(submit: SubmitMessage): void {
    this.#waiting.push(new Sequence(submit));
  }

  /** Lets a sequence sample up to `upTo` tokens in all. */
  credit(id: number, upTo: number): void {
    const sequence = this.#find(id);
    if (sequence && upTo > sequence.credit) sequence.credit = upTo;
  }

  /** Changes a sequence that runs or waits. */
  steer(id: number, change: SequenceChange): void {
    this.#find(id)?.change(change);
  }

  /** Drops a sequence at once; false when it is not here any more. */
  cancel(id: number): boolean {
    const waiting = this.#waiting.findIndex((s) => s.id === id);
    if (waiting >= 0) {
      this.#waiting.splice(waiting, 1);
      return true;
    }
    const sequence = this.#running.find((s) => s.id === id);
    if (sequence) this.#release(sequence);
    return sequence !== undefined;
  }

  /** Sequences that got their stream since the last call. */
  admit(): Sequence[] {
    const admitted: Sequence[] = [];
    while (this.#waiting.length > 0 && this.#freeStreams.length > 0) {
      const sequence = this.#waiting.shift()!;
      sequence.stream = this.#freeStreams.shift()!;
      this.#running.push(sequence);
      admitted.push(sequence);
    }
    return admitted;
  }

  /** Sequences that gave up their stream since the last call: nothing reads their cache. */
  ended(): Sequence[] {
    const ended = this.#ended;
    this.#ended = [];
    return ended;
  }

  /** The next batch, or undefined when nothing can run. */
  next(): Batch | undefined {
    const decode = this.#running.filter((s) => s.runnable);
    const prompts = this.#running.filter((s) => s.prefilling);
    const n_sequences = decode.length + prompts.length;
    if (n_sequences === 0) return undefined;
    const batch: Batch = { decode, shorts: [], prefill: undefined };
    let left = this.#promptBudget(decode.length);
    for (const sequence of prompts) {
      // One that is alone gains nothing from a shared pass and is not padded in its own.
      if (n_sequences === 1 || !this.#joins(sequence, batch, left)) {
        batch.prefill = this.#pieceBeside(batch, sequence, left);
        break;
      }
      batch.shorts.push(sequence);
      left -= sequence.n_left;
    }
    return batch;
  }

  /**
   * Takes what a finished tick sampled: one token for each decoding sequence in order, then one for
   * each short prompt, then one for a piece that ended its prompt.
   */
  commit(batch: Batch, tokens: ArrayLike<number>, times: TickTimes): Sampled[] {
    const { decode, shorts, prefill } = batch;
    this.#learn(batch, times);
    const sampling = [...decode, ...shorts];
    for (const sequence of sampling) sequence.n_past = sequence.tokens.length;
    if (prefill) prefill.sequence.n_past = prefill.end;
    if (prefill?.last) sampling.push(prefill.sequence);
    return sampling.map((sequence, i) => this.#append(sequence, tokens[i]!));
  }

  /** Tokens of prompts that fit beside `n_decode` decoding sequences, and a few in any case. */
  #promptBudget(n_decode: number): number {
    const left = (this.#tickMs - (n_decode > 0 ? this.#decodeMs : 0)) / this.#msPerPromptToken;
    return Math.min(this.#n_batch, Math.max(PIECE_STEP, Math.floor(left)));
  }

  /** Whether the rest of a prompt joins the shared pass of `batch`; `left` tokens still fit. */
  #joins(sequence: Sequence, { decode, shorts }: Batch, left: number): boolean {
    const pass = [...decode, ...shorts, sequence];
    const isFirst = pass.length === 1;
    const n_rest = sequence.n_left;
    if (n_rest > this.#n_short || (n_rest > left && !isFirst)) return false;
    const n_tokens = pass.reduce((sum, { n_left }) => sum + n_left, 0);
    return n_tokens * Math.max(...pass.map(({ tokens }) => tokens.length)) <= SHARED_CELLS_MAX;
  }

  /** What the first prompt that does not join `batch` gets in this tick. */
  #pieceBeside(
    { decode, shorts }: Batch,
    sequence: Sequence,
    left: number,
  ): PrefillPiece | undefined {
    const isShort = sequence.n_left <= this.#n_short;
    if (shorts.length > 0 && (isShort || left < PIECE_STEP)) return undefined;
    if (shorts.length === 0 && decode.length === 0) left = this.#n_batch;
    const { n_past, n_prompt } = sequence;
    const n = left < PIECE_STEP ? left : Math.floor(left / PIECE_STEP) * PIECE_STEP;
    const end = Math.min(n_prompt, n_past + n);
    return { sequence, end, last: end === n_prompt };
  }

  /** What decoding takes is known from passes without prompts, and what more one with them took. */
  #learn({ decode, shorts, prefill }: Batch, { sharedMs, prefillMs }: TickTimes): void {
    if (decode.length > 0 && shorts.length === 0) this.#decodeMs = mean(this.#decodeMs, sharedMs);
    const n_short = shorts.reduce((sum, { n_left }) => sum + n_left, 0);
    const n = n_short + (prefill ? prefill.end - prefill.sequence.n_past : 0);
    if (n === 0) return;
    const known = decode.length > 0 ? this.#decodeMs : 0;
    // More may have decoded then than now, so a part of the pass is the prompts' in any case.
    const least = sharedMs * n_short / (n_short + decode.length) / 4;
    const shortsMs = n_short > 0 ? Math.max(sharedMs - known, least) : 0;
    const perToken = Math.max((shortsMs + prefillMs) / n, MS_PER_TOKEN_MIN);
    this.#msPerPromptToken = mean(this.#msPerPromptToken, perToken);
  }

  #append(sequence: Sequence, token: number): Sampled {
    sequence.tokens.push(token);
    const finish = sequence.endIds.has(token)
      ? "eos"
      : sequence.n_sampled >= sequence.maxTokens || sequence.tokens.length >= this.#n_ctx
      ? "length"
      : undefined;
    if (finish) this.#release(sequence);
    return { id: sequence.id, token, finish };
  }

  #find(id: number): Sequence | undefined {
    return this.#running.find((s) => s.id === id) ?? this.#waiting.find((s) => s.id === id);
  }

  #release(sequence: Sequence): void {
    this.#running.splice(this.#running.indexOf(sequence), 1);
    this.#freeStreams.push(sequence.stream);
    this.#ended.push(sequence);
  }
}

function mean(old: number, value: number): number {
  return old === 0 ? value : old + (value - old) * NEWEST;
}
