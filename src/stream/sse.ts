/**
 * SseMessage <-> bytes by the rules of the WHATWG event stream format, pure and in both directions.
 *
 * Knows nothing of models, dialects or HTTP. A message keeps the fields that its block has, so that
 * what is written is read again as it was; only line ends inside `data` and `comment` become LF.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";

/** One block of an event stream; every field is optional. */
export interface SseMessage {
  /** Ignored by every client: a ping, a note. */
  comment?: string;
  /** Name of the event; clients take "message" where it is absent or empty. */
  event?: string;
  /** Payload. A block without it moves the cursor or the retry time and delivers nothing. */
  data?: string;
  /** Cursor that a client sends back as `Last-Event-ID`. */
  id?: string;
  /** Milliseconds that a client waits before it connects again. */
  retry?: number;
}

const LINE_END = /\r\n|\r|\n/;

function isOneLine(text: string): boolean {
  return !text.includes("\n") && !text.includes("\r");
}

/** One line, or one for each line of `text`. */
function writeLines(prefix: string, text: string): string {
  // The usual case, JSON on one line, pays two scans and one concatenation.
  if (isOneLine(text)) return prefix + text + "\n";
  return text.split(LINE_END).map((line) => prefix + line + "\n").join("");
}

function writeName(field: "event" | "id", value: string): string {
  if (!isOneLine(value) || value.includes("\0")) {
    throw new SluiceError(
      `Cannot write the SSE field "${field}" ${JSON.stringify(value)}: it has a line end or a NUL`,
      "invalid_sse_message",
      500,
    );
  }
  return `${field}: ${value}\n`;
}

function writeRetry(retry: number): string {
  if (!Number.isSafeInteger(retry) || retry < 0) {
    throw new SluiceError(
      `Cannot write the SSE field "retry" ${retry}: expected whole milliseconds from 0`,
      "invalid_sse_message",
      500,
    );
  }
  return `retry: ${retry}\n`;
}

/**
 * The text of one message, ended by its blank line; fields in the order retry, id, comment, event,
 * data.
 *
 * @throws SluiceError where `id` or `event` has CR, LF or NUL, or `retry` is not a whole number
 * from 0
 */
export function encodeSse(message: SseMessage): string {
  const { retry, id, comment, event, data } = message;
  let text = "";
  if (retry !== undefined) text += writeRetry(retry);
  if (id !== undefined) text += writeName("id", id);
  if (comment !== undefined) text += writeLines(": ", comment);
  if (event !== undefined) text += writeName("event", event);
  if (data !== undefined) text += writeLines("data: ", data);
  return text + "\n";
}

const encoder = new TextEncoder();

/** The bytes of one message in memory of their own: `encodeSse` in UTF-8. */
export function encodeSseBytes(message: SseMessage): Uint8Array<ArrayBuffer> {
  return encoder.encode(encodeSse(message));
}

/** About twenty tokens; a stream that is kept waiting holds no more than this. */
const BLOCK_BYTES = 4096;

/**
 * Writes the messages of one stream, several into one block of memory.
 *
 * A buffer for each message costs Deno more than all the rest (about 1 us with its collection), so
 * they share blocks of 4 KiB. A message's bytes are never written again; but whoever transfers its
 * `buffer`, as a stream of `type: "bytes"` does, takes its neighbours along: there
 * `encodeSseBytes` is right.
 */
export class SseWriter {
  /** What is free of the block that is being filled. */
  #free = new Uint8Array(0);

  /**
   * The bytes of one message, as `encodeSseBytes` gives them.
   *
   * @throws SluiceError as `encodeSse` does
   */
  write(message: SseMessage): Uint8Array<ArrayBuffer> {
    const text = encodeSse(message);
    // A block that is left for a long message would be left half empty.
    if (text.length > BLOCK_BYTES / 4) return encoder.encode(text);
    let { read, written } = encoder.encodeInto(text, this.#free);
    if (read < text.length) {
      this.#free = new Uint8Array(BLOCK_BYTES);
      ({ written } = encoder.encodeInto(text, this.#free));
    }
    const bytes = this.#free.subarray(0, written);
    this.#free = this.#free.subarray(written);
    return bytes;
  }
}

/**
 * Reads messages out of bytes that arrive in any pieces.
 *
 * A block is given out at its blank line; a torn one at the end of the stream is never given out,
 * and its id is not committed.
 */
export class SseParser {
  /** Last committed id, "" before the first; it outlives the blocks without an id. */
  lastEventId = "";
  /** Last valid `retry`, in milliseconds. */
  retryMs: number | undefined;

  // Drops one leading byte order mark by itself.
  readonly #decoder = new TextDecoder();
  #line = "";
  /** The last piece ended in CR: an LF that comes first in the next one belongs to it. */
  #afterCr = false;
  #block: SseMessage = {};
  #hasFields = false;

  /** Takes the next piece and gives the messages that it completes. */
  push(bytes: Uint8Array): SseMessage[] {
    const messages: SseMessage[] = [];
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return messages;
    let from = this.#afterCr && text.startsWith("\n") ? 1 : 0;
    this.#afterCr = false;
    // The two searches are remembered, or a long text with only one kind of line end costs a
    // square.
    let cr = text.indexOf("\r", from);
    let lf = text.indexOf("\n", from);
    while (cr >= 0 || lf >= 0) {
      const end = cr < 0 ? lf : lf < 0 ? cr : Math.min(cr, lf);
      this.#takeLine(this.#line + text.slice(from, end), messages);
      this.#line = "";
      from = end === cr && lf === cr + 1 ? end + 2 : end + 1;
      if (end === cr && from === text.length && lf !== cr + 1) this.#afterCr = true;
      if (cr >= 0 && cr < from) cr = text.indexOf("\r", from);
      if (lf >= 0 && lf < from) lf = text.indexOf("\n", from);
    }
    this.#line += text.slice(from);
    return messages;
  }

  #takeLine(line: string, messages: SseMessage[]): void {
    if (line === "") {
      if (!this.#hasFields) return;
      if (this.#block.id !== undefined) this.lastEventId = this.#block.id;
      messages.push(this.#block);
      this.#block = {};
      this.#hasFields = false;
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const skip = line[colon + 1] === " " ? 2 : 1;
    this.#takeField(name, colon < 0 ? "" : line.slice(colon + skip));
  }

  #takeField(name: string, value: string): void {
    const block = this.#block;
    if (name === "data") block.data = block.data === undefined ? value : `${block.data}\n${value}`;
    else if (name === "") {
      block.comment = block.comment === undefined ? value : `${block.comment}\n${value}`;
    } else if (name === "event") block.event = value;
    else if (name === "id" && !value.includes("\0")) block.id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value) && Number.isSafeInteger(Number(value))) {
      block.retry = this.retryMs = Number(value);
    } else return;
    this.#hasFields = true;
  }
}

/** Reads a whole body; leaving the loop early cancels it. */
export async function* parseSse(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<SseMessage, void, undefined> {
  const parser = new SseParser();
  for await (const bytes of body) yield* parser.push(bytes);
}
