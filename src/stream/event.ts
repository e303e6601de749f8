/**
 * StreamEvent: the one vocabulary between the engine, the logs and every dialect.
 *
 * Knows no model and no HTTP. A stream is `start`, then `token`s with `seq` 1, 2, 3 ..., then
 * exactly one terminal event: `complete` or `error`. Times are in milliseconds. Notices come beside
 * the others, on request: they have no seq, are in no log, and a reader may miss any of them.
 *
 * @module
 */

/** Why a generation ended; each dialect maps its own words. */
export type FinishReason = "length" | "stop" | "eos" | "tool_calls" | "cancelled" | "error";

/** What a piece of text belongs to. */
export type Channel = "content" | "reasoning" | "tool";

/** The request was admitted; nothing has been computed yet. */
export interface StartEvent {
  /** Tells the events apart. */
  type: "start";
  /** Hash of all that the tokens depend on, or null where a replay cannot be promised. */
  replay: string | null;
  /** Tokens of the prompt. */
  promptTokens: number;
}

/** One sampled token, or several where a held-back stop string was let go. */
export interface TokenEvent {
  /** Tells the events apart. */
  type: "token";
  /** 1 for the first token of the stream. */
  seq: number;
  /** Ids as the engine sampled them. */
  ids: number[];
  /** Whole code points only; empty while a code point or a possible stop string is held back. */
  text: string;
  /** Since the request was admitted. */
  timeMs: number;
  /** Index of the answer, 0 unless several were asked for. */
  choice: number;
  /** What the text belongs to. */
  channel: Channel;
}

/** What the request used, once, before `complete`. */
export interface UsageEvent {
  /** Tells the events apart. */
  type: "usage";
  /** Tokens of the prompt. */
  promptTokens: number;
  /** Tokens that were sampled, the end token too. */
  completionTokens: number;
  /** Tokens of the prompt that were not computed again. */
  cachedTokens: number;
}

/** Durations and counts of a finished generation. */
export interface GenerationStats {
  /** Tokens of the prompt. */
  promptTokens: number;
  /** Tokens that were sampled, the end token too. */
  generatedTokens: number;
  /** From admission to the first prefill step. */
  queueMs: number;
  /** From the first prefill step to the first token. */
  prefillMs: number;
  /** From the first token to the last. */
  decodeMs: number;
  /** From admission to the end. */
  totalMs: number;
}

/** The generation ended as it should. Terminal. */
export interface CompleteEvent {
  /** Tells the events apart. */
  type: "complete";
  /** Why it ended. */
  finishReason: FinishReason;
  /** What it took. */
  stats: GenerationStats;
}

/** The generation failed after it had started. Terminal. */
export interface ErrorEvent {
  /** Tells the events apart. */
  type: "error";
  /** Code of the error class. */
  code: string;
  /** One sentence, as in the error. */
  message: string;
  /** What to try next; may be empty. */
  hints: string[];
}

/**
 * All tokens up to a place as one, for a reader that joins late. Made for that reader, and in no
 * log.
 */
export interface SnapshotEvent {
  /** Tells the events apart. */
  type: "snapshot";
  /** Ids of the tokens so far. */
  ids: number[];
  /** Text so far of the channels content and tool. */
  text: string;
  /** Text so far of the channel reasoning. */
  reasoning: string;
  /** Since the request was admitted, of the last token. */
  timeMs: number;
}

/** The request waits for others to end. Beside the log. */
export interface QueueEvent {
  /** Tells the events apart. */
  type: "queue";
  /** 1 where it is the next. */
  position: number;
}

/** The prompt is being computed. Beside the log. */
export interface PrefillEvent {
  /** Tells the events apart. */
  type: "prefill";
  /** Tokens of the prompt, and those that another process had sampled. */
  totalTokens: number;
  /** How many of them were computed for an earlier request and need not be again. */
  cachedTokens: number;
  /** How many of the others are computed; 0 where it begins. */
  computedTokens: number;
}

/** What is told beside the log of a stream, to whoever asked for it. */
export type NoticeEvent = QueueEvent | PrefillEvent;

/** Any event of a stream, told apart by `type`. */
export type StreamEvent =
  | StartEvent
  | TokenEvent
  | SnapshotEvent
  | UsageEvent
  | CompleteEvent
  | ErrorEvent
  | NoticeEvent;

/** True for what is told beside the log. */
export function isNotice(event: StreamEvent): event is NoticeEvent {
  return event.type === "queue" || event.type === "prefill";
}
