/**
 * Upstream: the requests of a relay, and what the refusals of the other server mean here.
 *
 * @module
 */
import {
  type FieldError,
  OverloadedError,
  RequestError,
  type SluiceError,
  UpstreamError,
} from "../errors.ts";
import type { GenerateRequest } from "../engine/generator.ts";

/** The part of `fetch` that is needed. */
export type Fetch = (input: string, init: RequestInit) => Promise<Response>;

/** Where requests go. */
export interface UpstreamParts {
  /** Without a slash at its end. */
  readonly baseURL: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly silenceMs: number;
  readonly fetch: Fetch;
}

/** One request: its path and its body. */
export interface UpstreamBody {
  readonly path: "/chat/completions" | "/completions";
  readonly body: object;
}

/** Statuses that say nothing about the request itself: a later attempt may do. */
const PASSING = new Set([408, 425, 429, 502, 503, 504, 529]);
/** Statuses of what is wrong with the request; others, such as 401, are the relay's own fault. */
const REFUSALS = new Set([400, 413, 422]);
/** Names that servers give to a prompt that is too long. */
const FULL = /context_length_exceeded|exceed_context_size/;
/** Most of a refusal that is read, and most of its sentence that is told. */
const REFUSAL_BYTES_MAX = 65_536;
const SENTENCE_CHARS_MAX = 500;

/** The body for a request: raw text and chats have different paths, all else has one name. */
export function bodyOf(request: GenerateRequest, model: string): UpstreamBody {
  const { prompt, messages, maxTokens, stop, ignoreEos, sampling = {} } = request;
  const { temperature, topK, topP, minP, repeatPenalty, repeatLastN, seed } = sampling;
  const fields = {
    model,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: maxTokens,
    stop,
    ignore_eos: ignoreEos,
    temperature,
    top_k: topK,
    top_p: topP,
    min_p: minP,
    // Servers do not agree on its name, and pass over the one that they do not know.
    repeat_penalty: repeatPenalty,
    repetition_penalty: repeatPenalty,
    repeat_last_n: repeatLastN,
    seed,
  };
  // JSON leaves out what is undefined.
  return prompt === undefined
    ? { path: "/chat/completions", body: { ...fields, messages } }
    : { path: "/completions", body: { ...fields, prompt } };
}

/** The start of a body as text. */
async function startOf({ body }: Response): Promise<string> {
  const reader = body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (reader !== undefined && text.length < REFUSAL_BYTES_MAX) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
  }
  await reader?.cancel();
  return text;
}

/** What a refusal says of itself: `{error: {message, ...}}`, or other servers' plainer words. */
export function readRefusal(text: string): { message: string; code: string; param: string } {
  let told: unknown;
  try {
    told = JSON.parse(text);
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
  }
  const outer = Object(told) as Record<string, unknown>;
  const { error = outer } = outer;
  const inner = typeof error === "string" ? { message: error } : Object(error);
  const { message, code, type, param } = inner as Record<string, unknown>;
  const textOf = (value: unknown): string => typeof value === "string" ? value : "";
  return {
    message: textOf(message).slice(0, SENTENCE_CHARS_MAX),
    code: `${textOf(code)} ${textOf(type)}`,
    param: textOf(param),
  };
}

/** Seconds that `Retry-After` asks for, in seconds or as a date; 1 without one. */
function retryAfterS({ headers }: Response): number {
  const value = headers.get("retry-after") ?? "";
  const s = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Math.max(1, Math.ceil(s || 1));
}

async function refusalOf(response: Response): Promise<SluiceError> {
  const { status } = response;
  const { message, code, param } = readRefusal(await startOf(response));
  const said = message === "" ? `status ${status}` : message;
  if (PASSING.has(status)) {
    const sentence = `Cannot start the generation: the server behind this one has no room now`;
    return new OverloadedError(sentence, retryAfterS(response));
  }
  if (REFUSALS.has(status)) {
    const fields: FieldError[] = param === "" ? [] : [{ field: param, message: said }];
    const isFull = FULL.test(code);
    return new RequestError(`Cannot accept the request: ${said}`, fields, {
      status,
      ...(isFull && { code: "context_length_exceeded" }),
    });
  }
  return new UpstreamError(
    `Cannot start the generation: the upstream answered ${status}: ${said}`,
  );
}

/** Rejects where the promise has not settled in time, and with the signal's reason. */
function within<T>(promise: Promise<T>, ms: number, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    const late = (): void =>
      reject(
        new OverloadedError("Cannot go on: the server behind this one did not answer in time", 1),
      );
    const timer = setTimeout(late, ms);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    });
  });
}

/** Reads one answer, piece by piece and on demand. */
export class UpstreamReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #silenceMs: number;
  readonly #signal: AbortSignal;

  constructor(body: ReadableStream<Uint8Array>, silenceMs: number, signal: AbortSignal) {
    this.#reader = body.getReader();
    this.#silenceMs = silenceMs;
    this.#signal = signal;
    // In process, an abort of the request does not end its body. A broken one cannot be cancelled.
    signal.addEventListener("abort", () => this.#reader.cancel().catch(() => undefined), {
      once: true,
    });
  }

  /** The next bytes; undefined at the end. */
  async read(): Promise<Uint8Array | undefined> {
    const { value } = await within(this.#reader.read(), this.#silenceMs, this.#signal);
    return value;
  }
}

/** One server; see the module. */
export class Upstream {
  readonly #parts: UpstreamParts;

  constructor(parts: UpstreamParts) {
    this.#parts = parts;
  }

  /**
   * Sends a request and waits for its answer to begin.
   *
   * @throws RequestError where it is refused, OverloadedError where there is no room or no answer
   * in time, UpstreamError where anything else goes wrong
   */
  async open({ path, body }: UpstreamBody, signal: AbortSignal): Promise<UpstreamReader> {
    const { baseURL, headers, silenceMs, fetch } = this.#parts;
    const late = new AbortController();
    const either = AbortSignal.any([signal, late.signal]);
    const asked = fetch(baseURL + path, {
      method: "POST",
      headers: { ...headers, accept: "text/event-stream", "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: either,
    });
    let response: Response;
    try {
      response = await within(asked, silenceMs, signal);
    } catch (cause) {
      late.abort();
      if (cause instanceof OverloadedError || signal.aborted) throw cause;
      throw new UpstreamError(
        "Cannot start the generation: the upstream cannot be reached, check baseURL and whether " +
          "it runs",
        { cause },
      );
    }
    if (!response.ok) throw await within(refusalOf(response), silenceMs, signal);
    const type = response.headers.get("content-type") ?? "nothing";
    if (response.body === null || !type.startsWith("text/event-stream")) {
      await response.body?.cancel();
      throw new UpstreamError(
        `Cannot start the generation: the upstream sent ${type}, expected text/event-stream, ` +
          "check baseURL",
      );
    }
    return new UpstreamReader(response.body, silenceMs, either);
  }
}
