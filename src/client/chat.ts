/**
 * streamChat and resumeStream: a new stream, and one that exists.
 *
 * @module
 */
import { ChatStream } from "./chat_stream.ts";
import { type Fetch, Wire } from "./wire.ts";

/** One message of a chat. */
export interface ChatMessage {
  /** `system`, `user`, `assistant` or `tool`. */
  role: string;
  /** Its text. */
  content: string;
  /** Whose it is, where several take the same role. */
  name?: string;
}

/** What the server does with a stream that nobody reads any more. */
export type OnDisconnect = "cancel" | "continue" | "pause" | { graceMs: number };

/** How the server is reached. */
export interface ClientOptions {
  /** Base URL, as `http://localhost:8080`. */
  url: string;
  /** Sent with every request, such as `authorization`. Default none. */
  headers?: HeadersInit;
  /** Default the global one. */
  fetch?: Fetch;
  /** Ends the loop with its reason, as `abort()` does. */
  signal?: AbortSignal;
  /** Milliseconds without progress after which the client gives up. Default 60000. */
  timeoutMs?: number;
  /** Attempts without progress after which the client gives up. Default no limit. */
  retries?: number;
  /** Milliseconds before the next attempt until the server says its own number. Default 1000. */
  retryMs?: number;
  /** Milliseconds of silence that count as a cut; 0 is never. Default 20000: servers ping. */
  silenceMs?: number;
}

/** A new answer: `messages` or `prompt`, and how it is made. The server's defaults apply. */
export interface StreamChatOptions extends ClientOptions {
  /** The chat so far. */
  messages?: readonly ChatMessage[];
  /** A text to continue, in the place of `messages`. */
  prompt?: string;
  /** Most tokens of the answer. */
  maxTokens?: number;
  /** 0 takes the likeliest token each time. */
  temperature?: number;
  /** Sample among this many tokens; 0 is all. */
  topK?: number;
  /** Sample among the tokens that make up this probability. */
  topP?: number;
  /** Leave out tokens below this part of the likeliest one's probability. */
  minP?: number;
  /** Above 1 makes repetition less likely. */
  repeatPenalty?: number;
  /** Tokens that `repeatPenalty` looks back at; -1 is all. */
  repeatLastN?: number;
  /** The same seed gives the same answer. */
  seed?: number;
  /** Texts that end the answer, and are not part of it. */
  stop?: string | readonly string[];
  /** Go on after the token that ends the answer. */
  ignoreEos?: boolean;
  /** False keeps the stream out of the server's store. */
  resumable?: boolean;
  /** Default `{ graceMs: 60000 }`: a connection that is cut does not cancel the answer. */
  onDisconnect?: OnDisconnect;
}

/** A stream that exists. */
export interface ResumeStreamOptions extends ClientOptions {
  /** `await stream.id` of the stream. */
  id: string;
  /**
   * Its `lastEventId`, or the position of the last token that the caller has. Default everything
   * from the start.
   */
  from?: string | number;
}

const TIMEOUT_MS = 60_000;
const RETRY_MS = 1000;
const SILENCE_MS = 20_000;
const GRACE_MS = 60_000;

/** Names of the options on the wire. */
const FIELDS = {
  messages: "messages",
  prompt: "prompt",
  maxTokens: "max_tokens",
  temperature: "temperature",
  topK: "top_k",
  topP: "top_p",
  minP: "min_p",
  repeatPenalty: "repeat_penalty",
  repeatLastN: "repeat_last_n",
  seed: "seed",
  stop: "stop",
  ignoreEos: "ignore_eos",
  resumable: "resumable",
} as const satisfies Partial<Record<keyof StreamChatOptions, string>>;

function bodyOf(options: StreamChatOptions): string {
  const { onDisconnect = { graceMs: GRACE_MS } } = options;
  const names = Object.keys(FIELDS) as (keyof typeof FIELDS)[];
  return JSON.stringify({
    ...Object.fromEntries(names.map((name) => [FIELDS[name], options[name]])),
    ["on_disconnect"]: typeof onDisconnect === "object"
      ? { ["grace_ms"]: onDisconnect.graceMs }
      : onDisconnect,
  });
}

function connectionOf(options: ClientOptions) {
  return {
    wire: new Wire(options.url, options.headers, options.fetch),
    signal: options.signal,
    timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
    retries: options.retries ?? Infinity,
    retryMs: options.retryMs ?? RETRY_MS,
    silenceMs: options.silenceMs ?? SILENCE_MS,
  };
}

/** 128 random bits; `randomUUID` is missing where a page came without TLS. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Starts an answer. Failures come out of the loop and of the promises, as a StreamError.
 *
 * @example
 * ```ts ignore
 * const stream = streamChat({ url: "http://localhost:8080", prompt: "The sky is" });
 * for await (const { text } of stream) document.body.append(text);
 * ```
 */
export function streamChat(options: StreamChatOptions): ChatStream {
  // One key for all attempts: the server computes the answer once, however many arrive.
  const create = { key: randomKey(), body: bodyOf(options) };
  return new ChatStream({ ...connectionOf(options), create });
}

/** Attaches to a stream that exists, as after a page was loaded anew. */
export function resumeStream(options: ResumeStreamOptions): ChatStream {
  const { id, from } = options;
  const lastEventId = from === undefined || String(from).includes(":")
    ? from?.toString()
    : `${id}:${from}`;
  return new ChatStream({ ...connectionOf(options), id, lastEventId });
}
