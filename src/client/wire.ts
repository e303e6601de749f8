/**
 * Wire: HTTP requests that are repeated until the server has taken or refused them.
 *
 * @module
 */
import type { FieldError } from "../errors.ts";
import type { Patience, Setback } from "./patience.ts";
import { StreamError, type StreamErrorCode } from "./stream_error.ts";

/** The part of `fetch` that is needed. */
export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

/** One request; it must be safe to send it again. */
export interface Ask {
  readonly method: "GET" | "POST" | "DELETE";
  /** After the base URL. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

/** Statuses that say nothing about the request itself: a later attempt may do. */
const PASSING = new Set([408, 429, 502, 503, 504]);
const BUSY = new Set([429, 503]);
/** What a refusal means where a stream is asked for by its id. */
const CODES: Readonly<Record<number, StreamErrorCode>> = {
  400: "malformed_cursor",
  404: "stream_not_found",
  409: "cursor_past_end",
  410: "stream_evicted",
};

/** Settles as the promise does, or rejects with the signal's reason where that comes first. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** Milliseconds that `Retry-After` asks for, in seconds or as a date; 0 without one. */
function retryAfterMs({ headers }: Response): number {
  const value = headers.get("retry-after") ?? "0";
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, ms || 0);
}

/** A JSON object, or an empty one where the text is anything else. */
function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return {};
    throw thrown;
  }
}

async function refusal(response: Response, { method, path }: Ask): Promise<StreamError> {
  const { status } = response;
  const told = objectOf(await response.text());
  // Failures before the dialect is known come in another envelope.
  const { message } = (told["error"] ?? told) as { message?: unknown };
  const code = status >= 500
    ? "server_failed"
    : method === "POST"
    ? "request_refused"
    : CODES[status] ?? "request_refused";
  const said = typeof message === "string" ? `: ${message}` : "";
  return new StreamError(
    `The server refused ${method} ${path} with status ${status}${said}`,
    code,
    {
      status,
      errorType: told["error_type"] as string | undefined,
      fields: (told["fields"] ?? []) as FieldError[],
      hints: (told["recovery_hints"] ?? []) as string[],
    },
  );
}

/** Sends requests to one server; see the module. */
export class Wire {
  readonly #base: string;
  readonly #headers: Headers;
  readonly #fetch: Fetch;

  /** @param url base URL, with or without a slash at its end */
  constructor(url: string, headers: HeadersInit = {}, fetch: Fetch = globalThis.fetch) {
    this.#base = url.replace(/\/+$/, "");
    this.#headers = new Headers(headers);
    this.#fetch = fetch;
  }

  /**
   * The response to a request, with a status from 200 to 299.
   *
   * @throws StreamError where it is refused, or when the patience ends
   */
  async send(ask: Ask, patience: Patience, signal: AbortSignal): Promise<Response> {
    for (;;) {
      const answer = await this.#attempt(ask, patience.timeoutMs, signal);
      if (answer instanceof Response) return answer;
      await patience.pause(answer, signal);
    }
  }

  async #attempt(ask: Ask, timeoutMs: number, signal: AbortSignal): Promise<Response | Setback> {
    const { method, path, body } = ask;
    const headers = new Headers(this.#headers);
    for (const [name, value] of Object.entries(ask.headers)) headers.set(name, value);
    const attempt = new AbortController();
    const late = (): void => attempt.abort(new Error(`No answer within ${timeoutMs} ms`));
    const either = AbortSignal.any([signal, attempt.signal]);
    // Called without a receiver, as browsers demand of theirs.
    const fetch = this.#fetch;
    const timer = setTimeout(late, timeoutMs);
    let response: Response;
    let refused: StreamError | undefined;
    try {
      const init = { method, headers, signal: either, ...(body !== undefined && { body }) };
      response = await untilAborted(fetch(this.#base + path, init), either);
      // A refusal whose body is cut or never ends is no answer.
      if (!response.ok && !PASSING.has(response.status)) {
        refused = await untilAborted(refusal(response, ask), either);
      }
    } catch (cause) {
      signal.throwIfAborted();
      return { cause };
    } finally {
      clearTimeout(timer);
    }
    if (refused !== undefined) throw refused;
    if (response.ok) return response;
    // A body that broke cannot be cancelled, which is fine.
    response.body?.cancel().catch(() => undefined);
    return {
      cause: new Error(`The server answered ${response.status}`),
      code: BUSY.has(response.status) ? "overloaded" : "disconnected",
      afterMs: retryAfterMs(response),
    };
  }
}
