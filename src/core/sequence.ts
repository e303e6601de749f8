/**
 * Sequence: the state of one request on the native side.
 *
 * waiting -> prefill -> decode -> gone; a decoding sequence without credit is paused and keeps its
 * cache.
 *
 * @module
 */
import type { SequenceChange, SubmitMessage } from "../engine/protocol.ts";

/** One running or waiting request. */
export class Sequence {
  readonly id: number;
  /** Tokens that are computed before one is sampled here. */
  readonly n_prompt: number;
  /** How many of them another process had sampled. */
  readonly n_resumed: number;
  maxTokens: number;
  readonly endIds: ReadonlySet<number>;
  /** Parameters of the draw, in the order of `sluice_sample`; slot 6 is the position. */
  sampling: Float64Array;
  repeatLastN: number;
  /** Prompt, then what was sampled. */
  readonly tokens: number[];
  /** Its place among those that run, -1 while it waits. */
  stream = -1;
  /** Blocks of the cache that hold its tokens, in order. */
  readonly blocks: number[] = [];
  /** Tokens whose keys and values are in the cache. */
  n_past = 0;
  /** May sample up to this many tokens in all. */
  credit: number;
  /** Somebody wants to know how far its prompt is. */
  readonly tellsPrefill: boolean;

  constructor(submit: SubmitMessage) {
    this.id = submit.id;
    this.tokens = Array.from(submit.tokens);
    this.n_prompt = this.tokens.length;
    this.n_resumed = submit.n_sampled;
    this.maxTokens = submit.maxTokens;
    this.endIds = new Set(submit.endIds);
    this.sampling = submit.sampling;
    this.repeatLastN = submit.repeatLastN;
    this.credit = submit.credit;
    this.tellsPrefill = submit.tellsPrefill ?? false;
  }

  /** Takes a change for the tokens that are sampled from now on. */
  change({ maxTokens, sampling, repeatLastN }: SequenceChange): void {
    this.maxTokens = maxTokens ?? this.maxTokens;
    this.sampling = sampling ?? this.sampling;
    this.repeatLastN = repeatLastN ?? this.repeatLastN;
  }

  /** Tokens sampled so far, here and before. */
  get n_sampled(): number {
    return this.tokens.length - this.n_prompt + this.n_resumed;
  }

  /** Tokens that are not in the cache yet: the rest of the prompt, or the one that it decodes. */
  get n_left(): number {
    return this.tokens.length - this.n_past;
  }

  /** The prompt is not wholly in the cache yet. */
  get prefilling(): boolean {
    return this.n_past < this.n_prompt;
  }

  /** It decodes, and its reader wants more. */
  get runnable(): boolean {
    return !this.prefilling && this.n_sampled < this.credit;
  }

  /** The ids that the repetition penalty looks at. */
  history(): Int32Array {
    const n = this.repeatLastN < 0 ? this.tokens.length : this.repeatLastN;
    return Int32Array.from(n === 0 ? [] : this.tokens.slice(-n));
  }
}
