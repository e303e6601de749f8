/**
 * Messages between the engine and its core. Structured-clone data only, so a Worker or a pipe can
 * carry them.
 *
 * @module
 */
import type { FinishReason } from "../stream/event.ts";

/** How a model is loaded. */
export interface CoreOptions {
  /** Path of the GGUF file. */
  path: string;
  /** Threads that compute. */
  n_threads: number;
  /** Tokens that one sequence can hold; 0 is the longest context of the training. */
  n_ctx: number;
  /** Sequences that run at once. */
  n_streams: number;
  /** Element type of the cache. */
  cacheType: "f16" | "f32" | "q8_0";
  /** Flash attention; false is the plain soft max of the reference mode. */
  flashAttention: boolean;
  /** Rewrites of the graph; false computes it as it was recorded. */
  fused: boolean;
  /** Layouts of the CPU's own for weights; false leaves them as the file has them. */
  repack: boolean;
  /** Level of our kernels, such as `x86_64_v3`. Default the best that this processor has. */
  kernelVariant?: string;
  /** Folder that keeps packed weights for the next start. Default none is kept. */
  packedDir?: string;
}

/** A sequence to run. */
export interface SubmitMessage {
  type: "submit";
  id: number;
  /** Prompt, then what was sampled before, where another process began. */
  tokens: Int32Array;
  /** How many of them were sampled; they count for `maxTokens`, the draw and `credit`. */
  n_sampled: number;
  maxTokens: number;
  /** Ids that end the sequence. */
  endIds: number[];
  /** Eight numbers in the order of `sluice_sample`. */
  sampling: Float64Array;
  /** Tokens that the repetition penalty looks at; -1 is all. */
  repeatLastN: number;
  /** May sample up to this many tokens in all. */
  credit: number;
  /** Tell after each piece of the prompt how far it is. Default false. */
  tellsPrefill?: boolean;
}

/** What may change about a sequence that runs or waits; what is absent stays. */
export interface SequenceChange {
  maxTokens?: number;
  /** As in `SubmitMessage`. */
  sampling?: Float64Array;
  repeatLastN?: number;
}

/** From the engine to the core. */
export type ToCore =
  | {
    type: "load";
    options: CoreOptions;
    /** A flag for each stream, set by the engine when the sequence in it is cancelled. */
    cancelled: Int32Array;
  }
  | SubmitMessage
  | { type: "credit"; id: number; upTo: number }
  | { type: "steer"; id: number; change: SequenceChange }
  | { type: "cancel"; id: number }
  | { type: "stats" }
  | { type: "close" };

/** An error that crosses to the engine. */
export interface CoreError {
  name: string;
  code: string;
  message: string;
  hints: string[];
}

/** What a loaded core tells about itself. */
export interface CoreInfo {
  /** Tokens that one sequence can hold. */
  n_ctx: number;
  /** Sequences that run at once. */
  n_streams: number;
  /** Threads that compute. */
  n_threads: number;
  /** What the CPU path chose, such as `avx512_vnni`. */
  cpuVariant: string;
  /** Bytes of weights that were copied out of the file. */
  copiedBytes: number;
  /** Bytes of weights that are mapped from a packed file. */
  keptBytes: number;
  /** Why packed weights could not be kept, or what was wrong with those that were. */
  keepingFault?: string;
  /** Bytes that the cache may grow to. */
  cacheBytes: number;
}

/** What a core does at the moment, between two ticks. */
export interface CoreStats {
  /** Sequences that hold a stream, paused ones included. */
  running: number;
  /** Sequences that wait for a stream. */
  waiting: number;
  /** Batch shapes whose plans are kept. */
  plans: number;
}

/** One sampled token, and why the sequence ended with it if it did. */
export interface Sampled {
  id: number;
  token: number;
  finish: FinishReason | undefined;
}

/** How far the tokens are that are computed before one is sampled. */
export interface Prefilled {
  id: number;
  /** How many of them are in the cache. */
  n_past: number;
}

/** From the core to the engine. */
export type FromCore =
  | { type: "progress"; loadedBytes: number; totalBytes: number }
  | { type: "ready"; info: CoreInfo }
  /**
   * Sequences whose prompts are computed from now on, each with the stream that its cancel flag is
   * for.
   */
  | { type: "admitted"; admitted: [id: number, stream: number][] }
  /** The answer to `stats`. */
  | { type: "stats"; stats: CoreStats }
  /** What one tick sampled. */
  | { type: "sampled"; sampled: Sampled[] }
  /** A piece of a prompt was computed, not the last one, and somebody wants to know. */
  | { type: "prefilled"; prefilled: Prefilled }
  /** The core cannot go on: loading failed, or a computation did. */
  | { type: "failed"; error: CoreError }
  | { type: "closed" };
