/**
 * Framing: how the events of a stream become bytes: SSE, lines of JSON, or binary frames; the
 * client's Accept header chooses.
 *
 * @module
 */
import type { Cursor } from "../stream/cursor.ts";
import { encodeFrame, frameMagic } from "../stream/frame.ts";
import { encodeNdjsonBytes } from "../stream/ndjson.ts";
import type { Entry } from "../stream/reader.ts";
import { encodeSseBytes, type SseMessage, SseWriter } from "../stream/sse.ts";

/** One way to write a stream. */
export interface Framing {
  readonly contentType: string;
  /** What is said before the model has answered; the message holds retry time, id and a comment. */
  opening(message: SseMessage): Uint8Array;
  /**
   * An event as chunks, one each, without what the client has.
   *
   * @param messages those of its dialect that the client does not have
   */
  chunks(entry: Entry, messages: readonly SseMessage[], cursor: Cursor | undefined): Uint8Array[];
  /** Says that the stream is alive; `seq` is that of the last event. */
  ping(seq: number): Uint8Array;
  /** A comment for people; undefined where there is no place for one. */
  notice(message: SseMessage): Uint8Array | undefined;
  /** The server stops before the stream has ended; undefined where only the end can say so. */
  shutdown(message: SseMessage): Uint8Array | undefined;
}

const PING: SseMessage = { comment: "ping" };

/** Server-Sent Events, the default: a framing for each stream, because its writer keeps a block. */
export function sseFraming(): Framing {
  const writer = new SseWriter();
  return {
    contentType: "text/event-stream; charset=utf-8",
    // What an idle connection says is written apart, so that it holds no block.
    opening: encodeSseBytes,
    chunks: (_entry, messages) => messages.map((message) => writer.write(message)),
    ping: () => encodeSseBytes(PING),
    notice: encodeSseBytes,
    shutdown: encodeSseBytes,
  };
}

/** One JSON object a line; comments and pings are empty lines. */
export const ndjsonFraming: Framing = {
  contentType: "application/x-ndjson",
  opening: ({ comment }) => encodeNdjsonBytes({ ...(comment !== undefined && { comment }) }),
  chunks: (_entry, messages) => messages.map(encodeNdjsonBytes),
  ping: () => encodeNdjsonBytes(PING),
  notice: () => undefined,
  shutdown: ({ event, data }) =>
    event === undefined
      ? undefined
      : encodeNdjsonBytes({ event, ...(data !== undefined && { data }) }),
};

/** Length-prefixed frames of events; no dialect is heard, and parts of an event do not exist. */
export const binaryFraming: Framing = {
  contentType: "application/octet-stream",
  opening: frameMagic,
  chunks: (entry, _messages, cursor) =>
    cursor !== undefined && entry.seq <= cursor.seq ? [] : [encodeFrame(entry)],
  ping: (seq) => encodeFrame({ seq, event: null }),
  notice: () => undefined,
  shutdown: () => undefined,
};

/** The framing that a request asks for; SSE where it asks for none of the others. */
export function framingOf(request: Request): Framing {
  const accept = request.headers.get("accept") ?? "";
  if (/\bapplication\/(x-)?ndjson\b/.test(accept)) return ndjsonFraming;
  return /\bapplication\/octet-stream\b/.test(accept) ? binaryFraming : sseFraming();
}
