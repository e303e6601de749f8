/**
 * SseMessage <-> lines of `application/x-ndjson`, for clients that read JSON and no event streams.
 *
 * One message is one line: `{"id":"s:1","event":"token","data":{...}}`, each member only where the
 * message has it. `data` is the JSON that the message carries, or a string where it carries none,
 * such as `[DONE]`. Comments and `retry` are dropped; what is left with nothing, a ping, is an
 * empty line, which a reader skips.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";
import type { SseMessage } from "./sse.ts";

/** One line as a reader gets it; every member is optional. */
export interface NdjsonMessage {
  /** Cursor of the message. */
  id?: string;
  /** Name of the event. */
  event?: string;
  /** Payload: any JSON value. */
  data?: unknown;
}

/** The longest line that a reader takes by default, in UTF-16 units: 16 Mi. */
export const NDJSON_LINE_MAX = 16 * 1024 * 1024;

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    // Also what is nested too deep to be read: no reader could take it but as a string.
    return false;
  }
}

/** JSON keeps its digits and the order of its members; a line end in it can only be white space. */
function writeData(data: string): string {
  return isJson(data) ? data.replace(/[\r\n]/g, " ") : JSON.stringify(data);
}

/** The line of one message, ended by LF. */
export function encodeNdjson({ id, event, data }: SseMessage): string {
  const members: string[] = [];
  if (id !== undefined) members.push(`"id":${JSON.stringify(id)}`);
  if (event !== undefined) members.push(`"event":${JSON.stringify(event)}`);
  if (data !== undefined) members.push(`"data":${writeData(data)}`);
  return members.length === 0 ? "\n" : `{${members.join()}}\n`;
}

const encoder = new TextEncoder();

/** The bytes of one message: `encodeNdjson` in UTF-8. */
export function encodeNdjsonBytes(message: SseMessage): Uint8Array<ArrayBuffer> {
  return encoder.encode(encodeNdjson(message));
}

function ndjsonError(line: number, reason: string, cause?: unknown): SluiceError {
  const message = `Cannot read line ${line} of NDJSON: ${reason}`;
  return new SluiceError(message, "invalid_ndjson", 500, { cause });
}

function readMember(value: unknown, name: string, line: number): string {
  if (typeof value === "string") return value;
  throw ndjsonError(line, `"${name}" is ${JSON.stringify(value)}, expected a string`);
}

/** One line that is not blank. */
function readLine(text: string, line: number): NdjsonMessage {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw ndjsonError(line, `${JSON.stringify(text.slice(0, 100))} is not JSON`, cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw ndjsonError(line, `it is ${text.slice(0, 100)}, expected an object`);
  }
  const { id, event, data } = value as { id?: unknown; event?: unknown; data?: unknown };
  return {
    ...(id === undefined ? {} : { id: readMember(id, "id", line) }),
    ...(event === undefined ? {} : { event: readMember(event, "event", line) }),
    ...(data === undefined ? {} : { data }),
  };
}

/**
 * Reads messages out of bytes that arrive in any pieces.
 *
 * A line is given out at its LF; a torn one at the end of the stream is never given out.
 */
export class NdjsonParser {
  readonly #lineMax: number;
  readonly #decoder = new TextDecoder();
  #line = "";
  #lineNumber = 0;
  /** A bad line, kept until the messages before it have been given out. */
  #failure: SluiceError | undefined;

  /**
   * A reader at the start of a stream.
   *
   * @param lineMax longest line, in UTF-16 units, that does not make `push` throw
   */
  constructor(lineMax: number = NDJSON_LINE_MAX) {
    this.#lineMax = lineMax;
  }

  /**
   * Takes the next piece and gives the messages that it completes.
   *
   * @throws SluiceError with the code `invalid_ndjson` at a line that is no message or too long;
   * where the piece completes messages before that line, they are given and the next call throws
   */
  push(bytes: Uint8Array): NdjsonMessage[] {
    if (this.#failure !== undefined) throw this.#failure;
    const messages: NdjsonMessage[] = [];
    try {
      this.#take(this.#decoder.decode(bytes, { stream: true }), messages);
    } catch (thrown) {
      if (!(thrown instanceof SluiceError)) throw thrown;
      this.#failure = thrown;
      if (messages.length === 0) throw thrown;
    }
    return messages;
  }

  #take(text: string, messages: NdjsonMessage[]): void {
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.#extend(text.slice(from, end));
      const line = this.#line.trim();
      this.#line = "";
      this.#lineNumber++;
      if (line !== "") messages.push(readLine(line, this.#lineNumber));
      from = end + 1;
    }
    this.#extend(text.slice(from));
  }

  #extend(text: string): void {
    this.#line += text;
    if (this.#line.length <= this.#lineMax) return;
    throw ndjsonError(
      this.#lineNumber + 1,
      `it has over ${this.#lineMax} characters, raise the limit of the parser`,
    );
  }

  /**
   * Tells that no more comes.
   *
   * @throws SluiceError the failure that `push` kept back
   */
  end(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Reads a whole body; leaving the loop early cancels it. */
export async function* parseNdjson(
  body: ReadableStream<Uint8Array>,
  lineMax: number = NDJSON_LINE_MAX,
): AsyncGenerator<NdjsonMessage, void, undefined> {
  const parser = new NdjsonParser(lineMax);
  for await (const bytes of body) yield* parser.push(bytes);
  parser.end();
}
