/**
 * StreamEvent <-> length-prefixed binary frames, for `Accept: application/octet-stream`.
 *
 * All numbers are little endian, all text is UTF-8 without a byte order mark of its own. A stream
 * is the four bytes `53 4c 46 01` ("SLF" and the version of this format), then frames without gaps:
 *
 * | byte | size | what                                                                         |
 * | ---- | ---- | ---------------------------------------------------------------------------- |
 * | 0    | 4    | u32, bytes of the payload, the header not among them                         |
 * | 4    | 4    | u32, seq of the event in its stream; of a ping, of the last event sent       |
 * | 8    | 1    | u8, 0 ping, 1 start, 2 token, 3 usage, 4 complete, 5 error, 6 any other      |
 * | 9    | 1    | u8, channel of a token: 0 content, 1 reasoning, 2 tool; else 0               |
 * | 10   | 2    | u16, choice of a token; else 0                                               |
 * | 12   |      | the payload                                                                  |
 *
 * A ping has no payload. The payload of a token, its bytes counted from the frame's first:
 *
 * | byte          | size | what                                                                |
 * | ------------- | ---- | ------------------------------------------------------------------- |
 * | 12            | 8    | f64, milliseconds since the request was admitted                    |
 * | 20            | 4    | u32, n, how many ids                                                |
 * | 24            | 4    | u32, t, bytes of the text                                           |
 * | 28            | 4 n  | u32 each, the ids                                                   |
 * | 28 + 4 n      | t    | the text                                                            |
 * | 28 + 4 n + t  |      | the rest, often nothing: a JSON object of what has no place above   |
 *
 * The payload of every other kind is the event as one JSON object, its `type` included; the other
 * members are not checked. A reader that does not know a `type` skips its frame: new events need no
 * new version.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";
import type { Channel, StreamEvent, TokenEvent } from "./event.ts";

/** One frame: an event with its place in the stream, or a ping. */
export interface Frame {
  /** Seq of the event; of a ping, the seq of the last event that was sent. */
  seq: number;
  /** Null for a ping. */
  event: StreamEvent | null;
}

/** The largest payload, in bytes, that is written, and that is read by default: 4 MiB. */
export const FRAME_PAYLOAD_MAX = 4 * 1024 * 1024;

/** Bytes cannot be read as frames, or an event cannot be written as one. */
export class FrameError extends SluiceError {
  /** Byte of the stream where the bad frame begins; undefined when an event was to be written. */
  readonly offset: number | undefined;

  /**
   * The error of one frame.
   *
   * @param message one sentence with what failed, the value and what was expected
   * @param offset byte of the stream where the frame begins
   * @param options `cause` as in `Error`
   */
  constructor(message: string, offset?: number, options: { cause?: unknown } = {}) {
    super(message, "invalid_frame", 500, options);
    this.offset = offset;
  }
}

const MAGIC = [0x53, 0x4c, 0x46, 0x01] as const;
const HEADER_BYTES = 12;
/** Time, number of ids and bytes of text. */
const TOKEN_BYTES = 16;
const U32_MAX = 0xffff_ffff;

/** Kinds by their number; the number after the last one is any other event. */
const KINDS: readonly (string | null)[] = [null, "start", "token", "usage", "complete", "error"];
const OTHER = KINDS.length;
const TOKEN = KINDS.indexOf("token");
const CHANNELS: readonly Channel[] = ["content", "reasoning", "tool"];

function kindOf(event: { type: string } | null): number {
  const kind = KINDS.indexOf(event === null ? null : event.type);
  return kind < 0 ? OTHER : kind;
}

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);

function checkWhole(what: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= max) return;
  throw new FrameError(
    `Cannot write the frame: its ${what} is ${value}, expected a whole number from 0 to ${max}`,
  );
}

/** Where a frame is put together. */
interface Draft {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
}

function makeDraft(size: number): Draft {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}

/** Frames up to this size share one draft: a buffer with a view is what costs Deno most. */
const DRAFT_BYTES = 4096;
const shared = makeDraft(DRAFT_BYTES);

/** A draft with room for the frame, its header written but for the length. */
function openFrame(seq: number, kind: number, payloadBytes: number): Draft {
  checkWhole("seq", seq, U32_MAX);
  const size = HEADER_BYTES + payloadBytes;
  const draft = size <= DRAFT_BYTES ? shared : makeDraft(size);
  draft.view.setUint32(4, seq, true);
  draft.view.setUint32(8, kind, true);
  return draft;
}

/** Writes the length into the header and copies the frame out of its draft. */
function closeFrame({ bytes, view }: Draft, size: number): Uint8Array<ArrayBuffer> {
  const payloadBytes = size - HEADER_BYTES;
  if (payloadBytes > FRAME_PAYLOAD_MAX) {
    throw new FrameError(
      `Cannot write the frame: its payload has ${payloadBytes} bytes, ` +
        `expected at most ${FRAME_PAYLOAD_MAX}`,
    );
  }
  view.setUint32(0, payloadBytes, true);
  // Not slice(), which takes three times as long on Deno.
  const frame = new Uint8Array(size);
  frame.set(bytes.subarray(0, size));
  return frame;
}

/** The JSON of the members without a place in the payload; no bytes where there is none. */
function encodeOthers(others: object): Uint8Array {
  const json = JSON.stringify(others);
  return json === "{}" ? NOTHING : encoder.encode(json);
}

function encodeToken(seq: number, event: TokenEvent): Uint8Array<ArrayBuffer> {
  const { type: _type, seq: ownSeq, ids, text, timeMs, choice, channel, ...others } = event;
  const rest = encodeOthers(ownSeq === seq ? others : { seq: ownSeq, ...others });
  const channelNumber = CHANNELS.indexOf(channel);
  if (channelNumber < 0) {
    throw new FrameError(
      `Cannot write the frame: its channel is ${JSON.stringify(channel)}, ` +
        `expected ${CHANNELS.join(", ")}`,
    );
  }
  checkWhole("choice", choice, 0xffff);
  const textAt = HEADER_BYTES + TOKEN_BYTES + 4 * ids.length;
  // A UTF-16 unit takes three bytes at most.
  const draft = openFrame(seq, TOKEN, textAt + 3 * text.length + rest.length - HEADER_BYTES);
  const { bytes, view } = draft;
  view.setUint8(9, channelNumber);
  view.setUint16(10, choice, true);
  view.setFloat64(12, timeMs, true);
  view.setUint32(20, ids.length, true);
  for (const [i, id] of ids.entries()) {
    checkWhole("token id", id, U32_MAX);
    view.setUint32(28 + 4 * i, id, true);
  }
  const { written } = encoder.encodeInto(text, bytes.subarray(textAt));
  view.setUint32(24, written, true);
  bytes.set(rest, textAt + written);
  return closeFrame(draft, textAt + written + rest.length);
}

/** The bytes that open a stream, before its first frame. */
export function frameMagic(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(MAGIC);
}

/**
 * The bytes of one frame.
 *
 * @throws FrameError where a number does not fit its place or the payload is over
 * `FRAME_PAYLOAD_MAX`
 */
export function encodeFrame({ seq, event }: Frame): Uint8Array<ArrayBuffer> {
  if (event?.type === "token") return encodeToken(seq, event);
  const json = encoder.encode(event === null ? "" : JSON.stringify(event));
  const draft = openFrame(seq, kindOf(event), json.length);
  draft.bytes.set(json, HEADER_BYTES);
  return closeFrame(draft, HEADER_BYTES + json.length);
}

// A byte order mark in a token is text; what is no UTF-8 is a bad frame.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Runs a decoder of the platform; what it cannot take makes the frame a bad one. */
function decode<T>(what: string, offset: number, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new FrameError(`Cannot read the frame at byte ${offset}: its ${what}`, offset, { cause });
  }
}

function readText(bytes: Uint8Array, offset: number): string {
  return decode("text is not UTF-8", offset, () => decoder.decode(bytes));
}

function readObject(bytes: Uint8Array, offset: number): Record<string, unknown> {
  const text = readText(bytes, offset);
  const value = decode<unknown>("payload is not JSON", offset, () => JSON.parse(text));
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new FrameError(
    `Cannot read the frame at byte ${offset}: its JSON is no object, expected one`,
    offset,
  );
}

/** A token out of its whole frame. */
function readToken(bytes: Uint8Array, seq: number, offset: number): TokenEvent {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const channel = CHANNELS[view.getUint8(9)];
  const isLongEnough = bytes.length >= HEADER_BYTES + TOKEN_BYTES;
  const n = isLongEnough ? view.getUint32(20, true) : 0;
  const textAt = HEADER_BYTES + TOKEN_BYTES + 4 * n;
  const restAt = textAt + (isLongEnough ? view.getUint32(24, true) : 0);
  if (channel === undefined || restAt > bytes.length) {
    throw new FrameError(
      channel === undefined
        ? `Cannot read the frame at byte ${offset}: its channel is ${bytes[9]}, expected 0 to 2`
        : `Cannot read the frame at byte ${offset}: its ids and text need ` +
          `${restAt - HEADER_BYTES} bytes, and its payload has ${bytes.length - HEADER_BYTES}`,
      offset,
    );
  }
  const rest = bytes.subarray(restAt);
  return {
    seq,
    ...(rest.length === 0 ? {} : readObject(rest, offset)),
    type: "token",
    ids: Array.from({ length: n }, (_, i) => view.getUint32(28 + 4 * i, true)),
    text: readText(bytes.subarray(textAt, restAt), offset),
    timeMs: view.getFloat64(12, true),
    choice: view.getUint16(10, true),
    channel,
  };
}

/** The event of a whole frame. */
function readEvent(
  bytes: Uint8Array,
  kind: number,
  seq: number,
  offset: number,
): StreamEvent | null {
  if (kind === TOKEN) return readToken(bytes, seq, offset);
  const payload = bytes.subarray(HEADER_BYTES);
  if (kind === kindOf(null) && payload.length === 0) return null;
  const event = readObject(payload, offset);
  if (typeof event["type"] === "string" && kindOf({ type: event["type"] }) === kind) {
    return event as unknown as StreamEvent;
  }
  throw new FrameError(
    `Cannot read the frame at byte ${offset}: its kind is ${kind} and its event's type is ` +
      `${JSON.stringify(event["type"])}, expected them to agree`,
    offset,
  );
}

/**
 * Reads frames out of bytes that arrive in any pieces.
 *
 * It holds no more than one frame that has not come whole, so no more than the limit and a piece.
 */
export class FrameParser {
  readonly #payloadMax: number;
  /** Room for what has come; what is unread begins at `#from` and ends at `#to`. */
  #bytes = new Uint8Array(256);
  #from = 0;
  #to = 0;
  /** Byte of the stream at `#from`. */
  #offset = 0;
  /** A bad frame, kept until the frames before it have been given out. */
  #failure: FrameError | undefined;

  /**
   * A reader at the start of a stream.
   *
   * @param payloadMax largest payload, in bytes, that does not make `push` throw
   */
  constructor(payloadMax: number = FRAME_PAYLOAD_MAX) {
    this.#payloadMax = payloadMax;
  }

  /**
   * Takes the next piece and gives the frames that it completes.
   *
   * @throws FrameError at a bad frame; where the piece completes frames before it, they are given
   * and the next call throws
   */
  push(bytes: Uint8Array): Frame[] {
    if (this.#failure !== undefined) throw this.#failure;
    this.#append(bytes);
    const frames: Frame[] = [];
    try {
      for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame);
    } catch (thrown) {
      if (!(thrown instanceof FrameError)) throw thrown;
      this.#failure = thrown;
      if (frames.length === 0) throw thrown;
    }
    return frames;
  }

  /**
   * Tells that no more comes.
   *
   * @throws FrameError the failure that `push` kept back, or one that says where a frame is torn
   */
  end(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#offset > 0 && this.#from === this.#to) return;
    this.#failure = new FrameError(
      `Cannot read the frame at byte ${this.#offset}: the stream ends after ` +
        `${this.#to - this.#from} bytes of it`,
      this.#offset,
    );
    throw this.#failure;
  }

  #append(piece: Uint8Array): void {
    const unread = this.#to - this.#from;
    if (this.#to + piece.length > this.#bytes.length) {
      const kept = this.#bytes.subarray(this.#from, this.#to);
      if (unread + piece.length > this.#bytes.length) {
        this.#bytes = new Uint8Array(2 * (unread + piece.length));
      }
      this.#bytes.set(kept);
      this.#from = 0;
      this.#to = unread;
    }
    this.#bytes.set(piece, this.#to);
    this.#to += piece.length;
  }

  #skip(bytes: number): void {
    this.#from += bytes;
    this.#offset += bytes;
  }

  /** The next frame, undefined where it has not come whole. */
  #next(): Frame | undefined {
    if (this.#offset === 0 && !this.#readMagic()) return undefined;
    const unread = this.#bytes.subarray(this.#from, this.#to);
    if (unread.length < HEADER_BYTES) return undefined;
    const view = new DataView(unread.buffer, unread.byteOffset, HEADER_BYTES);
    const size = HEADER_BYTES + view.getUint32(0, true);
    const kind = view.getUint8(8);
    this.#checkHeader(size - HEADER_BYTES, kind);
    if (unread.length < size) return undefined;
    const seq = view.getUint32(4, true);
    const event = readEvent(unread.subarray(0, size), kind, seq, this.#offset);
    this.#skip(size);
    return { seq, event };
  }

  /** False where the four bytes have not come whole. */
  #readMagic(): boolean {
    const came = this.#bytes.subarray(this.#from, Math.min(this.#to, this.#from + MAGIC.length));
    const wrong = came.findIndex((byte, i) => byte !== MAGIC[i]);
    if (wrong === 3) {
      throw new FrameError(
        `Cannot read the frames: their version is ${came[3]}, expected ${MAGIC[3]}`,
        0,
      );
    }
    if (wrong >= 0) {
      throw new FrameError(
        `Cannot read the frames: the stream begins with the bytes ${came.join(" ")}, ` +
          `expected ${MAGIC.join(" ")}`,
        0,
      );
    }
    if (came.length < MAGIC.length) return false;
    this.#skip(MAGIC.length);
    return true;
  }

  /** Before the payload is waited for, so that a bad length makes nobody hold memory. */
  #checkHeader(payloadBytes: number, kind: number): void {
    if (payloadBytes > this.#payloadMax) {
      throw new FrameError(
        `Cannot read the frame at byte ${this.#offset}: its payload has ${payloadBytes} bytes, ` +
          `expected at most ${this.#payloadMax}`,
        this.#offset,
      );
    }
    if (kind > OTHER) {
      throw new FrameError(
        `Cannot read the frame at byte ${this.#offset}: its kind is ${kind}, expected 0 to ${OTHER}`,
        this.#offset,
      );
    }
  }
}

/** Reads a whole body; leaving the loop early cancels it. */
export async function* parseFrames(
  body: ReadableStream<Uint8Array>,
  payloadMax: number = FRAME_PAYLOAD_MAX,
): AsyncGenerator<Frame, void, undefined> {
  const parser = new FrameParser(payloadMax);
  for await (const bytes of body) yield* parser.push(bytes);
  parser.end();
}
