/**
 * Scheduler: which tokens of which sequences are computed next. Continuous batching as a pure state
 * machine.
 *
 * No I/O, no clock, no await: the same calls give the same batches. A batch is first one token of
 * every sequence that decodes and has credit, then one piece of the oldest prompt that is not in
 * the cache yet, as long as the tick is expected to stay near its budget. State is committed only
 * by a finished tick.
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
  /** Most tokens of a prompt in one tick. Default 512. */
  n_batch?: number;
}

/** A piece of a prompt. */
export interface PrefillPiece {
  sequence: Sequence;
  /** Tokens `sequence.n_past` up to here, exclusive. */
  end: number;
  /** The prompt ends here, so its next token is sampled. */
  last: boolean;
}

/** What one tick computes. */
export interface Batch {
  /** Sequences that decode one token each. */
  decode: Sequence[];
  prefill: PrefillPiece | undefined;
}

/** How long the two parts of a tick took, in milliseconds. */
export interface TickTimes {
  decodeMs: number;
  prefillMs: number;
}

const PREFILL_MIN = 16;
/** Weight of the newest measurement in a running mean. */
const NEWEST = 0.25;

/** Decides what is computed; see the module. */
export class Scheduler {
  readonly #n_ctx: number;
  readonly #tickMs: number;
  readonly #n_batch: number;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  readonly #freeStreams: number[];
  #ended: Sequence[] = [];
  #decodeMs = 0;
  #msPerPrefillToken = 1;

  constructor({ n_streams, n_ctx, tickMs = 30, n_batch = 512 }: SchedulerOptions) {
    this.#n_ctx = n_ctx;
    this.#tickMs = tickMs;
    this.#n_batch = n_batch;
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
    const sequence = this.#running.find((s) => s.prefilling);
    if (!sequence) return decode.length > 0 ? { decode, prefill: undefined } : undefined;
    const end = Math.min(sequence.n_prompt, sequence.n_past + this.#prefillBudget(decode.length));
    return { decode, prefill: { sequence, end, last: end === sequence.n_prompt } };
  }

  /**
   * Takes what a finished tick sampled: one token for each decoding sequence in order, then one for
   * a prompt that ended.
   */
  commit(batch: Batch, tokens: ArrayLike<number>, times: TickTimes): Sampled[] {
    const { decode, prefill } = batch;
    const sampled: Sampled[] = [];
    decode.forEach((sequence, i) => {
      sequence.n_past += 1;
      sampled.push(this.#append(sequence, tokens[i]!));
    });
    if (decode.length > 0) this.#decodeMs = mean(this.#decodeMs, times.decodeMs);
    if (prefill) {
      const { sequence, end, last } = prefill;
      const perToken = times.prefillMs / (end - sequence.n_past);
      this.#msPerPrefillToken = mean(this.#msPerPrefillToken, perToken);
      sequence.n_past = end;
      if (last) sampled.push(this.#append(sequence, tokens[decode.length]!));
    }
    return sampled;
  }

  /** Tokens of a prompt that fit beside `n_decode` decoding sequences. */
  #prefillBudget(n_decode: number): number {
    if (n_decode === 0) return this.#n_batch;
    const left = (this.#tickMs - this.#decodeMs) / this.#msPerPrefillToken;
    // Round sizes come back, and a plan is kept for each size.
    const step = PREFILL_MIN;
    return Math.min(this.#n_batch, Math.max(step, Math.floor(left / step) * step));
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
