/**
 * The server's side of a WebSocket (RFC 6455) on the socket of an upgraded request; node:http has
 * none of its own.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { OpenSocket } from "../handler.ts";
import type { Socket, SocketListener } from "../socket.ts";
import { endWith } from "./node_message.ts";

const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** A backstop for one message and for the send queue; the session's limits are lower. */
const BYTES_MAX = 64 << 20;
/** A ping after so much silence, and the end after twice as much. */
const PING_MS = 15_000;
/** How long the client may take to answer a close. */
const CLOSE_MS = 1000;
const CONTROL_BYTES_MAX = 125;

const OP = { more: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const CODE = { normal: 1000, protocol: 1002, noCode: 1005, notUtf8: 1007, tooLarge: 1009 } as const;

/** One frame as it came, unmasked. */
export interface Frame {
  readonly opcode: number;
  readonly isLast: boolean;
  readonly payload: Uint8Array;
}

/** What a client may not send; the code says why. */
export class FrameError extends Error {
  readonly code: number;
  /** @param code of the close frame */
  constructor(code: number) {
    super(`Cannot read the frame: it breaks the rule of code ${code}`);
    this.code = code;
  }
}

/** One frame of the server, which masks nothing. */
export function encodeFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const extra = length <= CONTROL_BYTES_MAX ? 0 : length < 1 << 16 ? 2 : 8;
  const frame = new Uint8Array(2 + extra + length);
  const view = new DataView(frame.buffer);
  frame[0] = 0x80 | opcode;
  frame[1] = extra === 0 ? length : extra === 2 ? 126 : 127;
  if (extra === 2) view.setUint16(2, length);
  if (extra === 8) view.setBigUint64(2, BigInt(length));
  frame.set(payload, 2 + extra);
  return frame;
}

/** Takes bytes as they come, and gives the frames in them. */
export class FrameParser {
  #bytes: Uint8Array = new Uint8Array(0);

  /**
   * The frames that are whole now.
   *
   * @throws FrameError where the client breaks the protocol
   */
  *push(bytes: Uint8Array): Generator<Frame, void, undefined> {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    for (;;) {
      const frame = this.#take();
      if (frame === undefined) return;
      yield frame;
    }
  }

  #take(): Frame | undefined {
    const bytes = this.#bytes;
    const [first, second] = bytes;
    if (first === undefined || second === undefined) return undefined;
    const opcode = first & 15;
    const isControl = opcode >= OP.close;
    const isKnown = opcode <= OP.binary || (isControl && opcode <= OP.pong);
    const isLast = first >= 0x80;
    const short = second & 127;
    const isWrong = (first & 0x70) !== 0 || !isKnown || second < 0x80 ||
      (isControl && (!isLast || short > CONTROL_BYTES_MAX));
    if (isWrong) throw new FrameError(CODE.protocol);
    const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
    const start = 2 + extra + 4;
    if (bytes.length < start) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = extra === 0
      ? short
      : extra === 2
      ? view.getUint16(2)
      : Number(view.getBigUint64(2));
    if (length > BYTES_MAX) throw new FrameError(CODE.tooLarge);
    if (bytes.length < start + length) return undefined;
    const mask = bytes.subarray(start - 4, start);
    const payload = bytes.slice(start, start + length);
    for (let i = 0; i < length; i++) payload[i]! ^= mask[i & 3]!;
    this.#bytes = bytes.subarray(start + length);
    return { opcode, isLast, payload };
  }
}

/** An open WebSocket, as a session sees it. */
class NodeSocket implements Socket {
  readonly drains = true;
  readonly #socket: Duplex;
  readonly #parser = new FrameParser();
  readonly #session: SocketListener;
  /** Pieces of a message whose end has not come. */
  #pieces: Uint8Array[] = [];
  #isText = true;
  #hasBegun = false;
  #isClosing = false;
  #isAlive = true;
  readonly #pinger: ReturnType<typeof setInterval>;

  constructor(socket: Duplex, open: OpenSocket) {
    this.#socket = socket;
    this.#session = open(this);
    this.#pinger = setInterval(() => this.#ping(), PING_MS);
    socket.on("data", (bytes: Uint8Array) => this.take(bytes));
    socket.on("drain", () => this.#session.onDrain());
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      clearInterval(this.#pinger);
      this.#session.onClose();
    });
  }

  get bufferedAmount(): number {
    return this.#socket.writableLength;
  }

  send(text: string): void {
    this.#write(OP.text, new TextEncoder().encode(text));
  }

  close(code: number, reason: string): void {
    if (this.#isClosing) return;
    const text = new TextEncoder().encode(reason).subarray(0, CONTROL_BYTES_MAX - 2);
    this.#write(OP.close, new Uint8Array([code >> 8, code & 255, ...text]));
    this.#isClosing = true;
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_MS);
    this.#socket.once("close", () => clearTimeout(timer));
  }

  take(bytes: Uint8Array): void {
    this.#isAlive = true;
    try {
      for (const frame of this.#parser.push(bytes)) this.#onFrame(frame);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.close(error.code, "");
      this.#socket.end();
    }
  }

  #onFrame({ opcode, isLast, payload }: Frame): void {
    if (opcode === OP.ping) return this.#write(OP.pong, payload);
    if (opcode === OP.pong) return;
    if (opcode === OP.close) {
      const code = payload.length < 2 ? CODE.noCode : (payload[0]! << 8) | payload[1]!;
      this.close(code === CODE.noCode ? CODE.normal : code, "");
      return void this.#socket.end();
    }
    if ((opcode === OP.more) !== this.#hasBegun) throw new FrameError(CODE.protocol);
    if (opcode !== OP.more) this.#isText = opcode === OP.text;
    this.#hasBegun = !isLast;
    this.#pieces.push(payload);
    const length = this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length > BYTES_MAX) throw new FrameError(CODE.tooLarge);
    if (!isLast || this.#isClosing) return;
    const message = this.#pieces.length === 1 ? payload : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#session.onMessage(this.#isText ? textOf(message) : message);
  }

  #write(opcode: number, payload: Uint8Array): void {
    if (this.#isClosing || this.#socket.destroyed) return;
    // A message that is dropped in silence would be a hole in a stream.
    if (this.bufferedAmount > BYTES_MAX) return void this.#socket.destroy();
    this.#socket.write(encodeFrame(opcode, payload));
  }

  #ping(): void {
    if (!this.#isAlive) return void this.#socket.destroy();
    this.#isAlive = false;
    this.#write(OP.ping, new Uint8Array(0));
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FrameError(CODE.notUtf8);
  }
}

/** Ends the handshake of a request that was let in, and begins its session. */
export function acceptSocket(
  { headers }: IncomingMessage,
  socket: Duplex,
  head: Uint8Array,
  open: OpenSocket,
): void {
  const key = `${headers["sec-websocket-key"]}${ACCEPT_SUFFIX}`;
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  const opened = new NodeSocket(socket, open);
  if (head.length > 0) opened.take(head);
}

/** Answers a handshake that is refused, and closes. */
export async function refuseSocket(socket: Duplex, response: Response): Promise<void> {
  const body = new Uint8Array(await response.arrayBuffer());
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const head = `HTTP/1.1 ${response.status} \r\n${headers}` +
    `content-length: ${body.length}\r\nconnection: close\r\n\r\n`;
  endWith(socket, Buffer.concat([Buffer.from(head, "latin1"), body]));
}
