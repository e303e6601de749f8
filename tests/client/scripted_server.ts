/**
 * The server's side of the wire as a `fetch` function: one stream, and a script of what goes wrong.
 *
 * @module
 */
import { encodeSseBytes, type SseMessage } from "../../src/stream/sse.ts";

export const STREAM = "0123456789abcdef0123456789abcdef";
const TEXTS = ["Hé", "llo", " 🌍", "", "\n", "fin"];
/** What all tokens say together. */
export const TEXT = TEXTS.join("");

/** One token on the wire. */
export function tokenAt(position: number, token: string): SseMessage {
  const data = JSON.stringify({
    token,
    ["token_id"]: 100 + position,
    ["cumulative_time_ms"]: position * 10,
    position,
  });
  return { id: `${STREAM}:${position}`, event: "token", data };
}

/** The end on the wire. */
export function completeAt(seq: number, isNormal = true): SseMessage {
  const data = JSON.stringify({
    ["total_tokens"]: seq - 1,
    ["total_time_ms"]: 70,
    ["tokens_per_second"]: 85.71,
    ["completed_normally"]: isNormal,
    ["completion_reason"]: isNormal ? "Generation completed successfully" : "Generation cancelled",
  });
  return { id: `${STREAM}:${seq}`, event: "complete", data };
}

/** The messages of the whole stream. */
export const MESSAGES: readonly SseMessage[] = [
  ...TEXTS.map((token, i) => tokenAt(i + 1, token)),
  // The server counts an event that has no message here, as usage is.
  completeAt(TEXTS.length + 2),
];

/** A block that opens every response. */
export function preamble(isNew: boolean): SseMessage {
  return { retry: 1, ...(isNew && { id: `${STREAM}:0` }), comment: "ok" };
}

/** The bytes of messages, one after another. */
export function bytesOf(messages: readonly SseMessage[]): Uint8Array<ArrayBuffer> {
  const blocks = messages.map(encodeSseBytes);
  const all = new Uint8Array(blocks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const block of blocks) {
    all.set(block, at);
    at += block.length;
  }
  return all;
}

/** A body that says `bytes`, then ends as told; "open" never ends. */
export function bodyOf(
  bytes: Uint8Array<ArrayBuffer>,
  end: "closes" | "fails" | "open" = "closes",
  onCancel: () => void = () => {},
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    start: (controller) => {
      if (bytes.length > 0) controller.enqueue(bytes);
    },
    pull: (controller) => {
      if (end === "closes") controller.close();
      if (end === "fails") controller.error(new TypeError("The connection was cut"));
      // What never ends waits; a cancel frees it.
      if (end === "open") return new Promise(() => {});
    },
    cancel: onCancel,
  });
}

/** A response with a stream in it. */
export function streamed(body: ReadableStream<Uint8Array<ArrayBuffer>>, named = true): Response {
  const headers = { "content-type": "text/event-stream; charset=utf-8" };
  return new Response(body, { headers: named ? { ...headers, "x-stream-id": STREAM } : headers });
}

/** One request as it came. */
export interface Came {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** What the script does with the k-th request, from 0; undefined lets the server answer it. */
export type Script = (request: Came, k: number) => Response | Promise<Response> | undefined;

/** Plays the script, and serves the stream where that says nothing. */
export class ScriptedServer {
  readonly came: Came[] = [];
  /** Idempotency keys that came, each once. */
  readonly keys = new Set<string>();
  readonly #script: Script;

  constructor(script: Script = () => undefined) {
    this.#script = script;
  }

  /** To be given to the client. */
  readonly fetch = async (url: string, init: RequestInit = {}): Promise<Response> => {
    init.signal?.throwIfAborted();
    const headers = new Headers(init.headers);
    const came = {
      method: init.method ?? "GET",
      path: url.replace("http://fake", ""),
      headers,
      body: String(init.body ?? ""),
    };
    const key = headers.get("idempotency-key");
    if (key !== null) this.keys.add(key);
    this.came.push(came);
    return await this.#script(came, this.came.length - 1) ?? this.answer(came);
  };

  /** What a server without mishaps answers. */
  answer(request: Came): Response {
    const bytes = this.bytes(request);
    return bytes === undefined
      ? new Response(null, { status: 204 })
      : streamed(bodyOf(bytes, "closes"));
  }

  /** The bytes that are left for a reader; undefined where it has everything. */
  bytes({ method, headers }: Came): Uint8Array<ArrayBuffer> | undefined {
    if (method === "DELETE") return undefined;
    const cursor = headers.get("last-event-id");
    if (cursor === null) return bytesOf([preamble(true), ...MESSAGES]);
    const seq = Number(cursor.split(":")[1]);
    const left = MESSAGES.filter(({ id }) => Number(id!.split(":")[1]) > seq);
    return left.length === 0 ? undefined : bytesOf([preamble(false), ...left]);
  }
}
