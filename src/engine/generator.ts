/**
 * Generator: whatever turns a request into StreamEvents. The engine is one; a relay and a mock are
 * others.
 *
 * @module
 */
import type { NoticeEvent, StreamEvent } from "../stream/event.ts";
import type { Steering } from "./steering.ts";

/** One message of a chat. */
export interface ChatMessage {
  /** Who speaks: `system`, `user`, `assistant`, or what else the template knows. */
  role: string;
  /** What is said. */
  content: string;
  /** Name of the speaker or tool, where the template uses it. */
  name?: string;
}

/**
 * How the next token is drawn. Steps apply in this order: penalty, top_k, top_p, min_p,
 * temperature.
 */
export interface SamplingOptions {
  /** 0 takes the most likely token. Default 0.8. */
  temperature?: number;
  /** Keep the k most likely tokens; 0 keeps all. Default 40. */
  topK?: number;
  /** Keep the smallest set whose probability reaches p; 1 keeps all. Default 0.95. */
  topP?: number;
  /** Drop tokens less likely than p times the best; 0 keeps all. Default 0.05. */
  minP?: number;
  /** Divide the positive logits of recent tokens (multiply negative ones); 1 is off. Default 1. */
  repeatPenalty?: number;
  /** How many recent tokens the penalty looks at; -1 is the whole context. Default 64. */
  repeatLastN?: number;
  /** Same seed, same tokens. Unsigned 32 bits; random when absent. */
  seed?: number;
}

/** Where a generation goes on that another process has begun. */
export interface ResumePoint {
  /** Ids that were sampled and given out; they are computed again, not sampled. */
  ids: number[];
  /** Seq of the last event that was given out; the next one has the one after. */
  seq: number;
}

/** What to generate. Exactly one of `prompt` and `messages` is given. */
export interface GenerateRequest {
  /** Raw text, not wrapped by the chat template. Text in it never becomes a special token. */
  prompt?: string;
  /** A chat, rendered with the model's own template. */
  messages?: ChatMessage[];
  /** Most tokens to generate; without it until the end token or a full context. */
  maxTokens?: number;
  /** How tokens are drawn; every option has a default. */
  sampling?: SamplingOptions;
  /** Texts that end the generation; they are not part of the answer. */
  stop?: string[];
  /** Go on after the end token. Default false. */
  ignoreEos?: boolean;
  /** Notices to give between `start` and the first token, as far as it knows them. Default none. */
  events?: NoticeEvent["type"][];
  /** Go on from here; `maxTokens` counts from the beginning all the same. Needs the same seed. */
  resume?: ResumePoint;
}

/** What a server tells about the model behind a generator. */
export interface ModelInfo {
  /** Name on the wire. */
  id: string;
  /** Unix seconds. */
  created: number;
  /** Tokens that one sequence can hold. */
  n_ctx: number;
  /** Tokens that the model knows. */
  n_vocab: number;
  /** Changes whenever the same request and seed may give other tokens. */
  fingerprint?: string;
}

/** How busy a generator is. */
export interface GeneratorLoad {
  /** Sequences that can run at once. */
  slots: number;
  /** Sequences that run, paused ones included. */
  running: number;
  /** Requests that wait for a slot. */
  waiting: number;
  /** Bytes that the cache of keys and values may grow to. */
  cacheBytes: number;
}

/** Turns requests into streams of events. */
export interface Generator {
  /** The model behind it. */
  readonly model: ModelInfo;
  /** How busy it is now, for metrics. Default it does not say. */
  readonly load?: GeneratorLoad;
  /**
   * Starts a generation; demand drives it.
   *
   * The first `next()` gives `start` once the request is validated, tokenized and queued. Until
   * then it throws: RequestError, ContextFullError, OverloadedError. After `start` a failure is an
   * `error` event, and the iterator never throws. `return()` and `signal` both cancel; `signal`
   * also wakes a pending `next()`, and the stream then ends with `complete` and `finishReason:
   * "cancelled"`. A generator that can be steered listens to `steering`.
   */
  generate(
    request: GenerateRequest,
    signal?: AbortSignal,
    steering?: Steering,
  ): AsyncGenerator<StreamEvent, void, undefined>;
}
