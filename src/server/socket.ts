/**
 * SocketSession: one client on a WebSocket, the twin of `POST /v1/stream`; knows no runtime.
 *
 * Messages are JSON objects told apart by `type`. Pull, never push: the next event of a stream is
 * read only while the socket has room, so that a client that does not read holds up the generation
 * and not the memory.
 *
 * @module
 */
import { OverloadedError, RequestError } from "../errors.ts";
import { messageId, partsDelivered } from "../stream/cursor.ts";
import { isTerminal } from "../stream/log.ts";
import type { NoticeEvent } from "../stream/event.ts";
import type { Entry, StreamReader } from "../stream/reader.ts";
import type { SseMessage } from "../stream/sse.ts";
import { within } from "../stream/within.ts";
import { parseJsonObject } from "./body.ts";
import { readControl } from "./control.ts";
import type { AnswerContext, Encode, Exchange } from "./dialect.ts";
import type { JsonObject } from "./fields.ts";
import { Listener } from "./progress.ts";
import type { PublicError } from "./public_error.ts";
import type { Ask, Attached, Streaming } from "./streaming.ts";

/** The open connection, as an adapter wraps it. */
export interface Socket {
  /** Sends one text message. */
  send(text: string): void;
  /** Begins the closing handshake. */
  close(code: number, reason: string): void;
  /** Bytes that were sent and have not left yet. */
  readonly bufferedAmount: number;
  /** True where the adapter calls `onDrain`; else the session looks every few milliseconds. */
  readonly drains: boolean;
}

/** What an adapter tells of its connection. */
export interface SocketListener {
  /** The client's message: text, or anything else where it was binary. */
  onMessage(message: unknown): void;
  /** There may be room again. */
  onDrain(): void;
  /** The connection is gone. */
  onClose(): void;
}

/** Limits of one socket; every one has a default. */
export interface SocketLimits {
  /** Bytes of a client's message; a larger one closes the socket with 1009. Default 1 MiB. */
  messageBytesMax?: number;
  /**
   * Milliseconds without a message and without a running stream after which the socket is closed
   * with 1001; 0 is never. Default 60 s.
   */
  idleMs?: number;
  /** Streams that run on the socket at once; one more gets an error message. Default 16. */
  streamsMax?: number;
  /**
   * Bytes that wait to be sent before no stream is read any more. A client that makes as many
   * bytes of replies without reading is closed with 1008. Default 64 KiB.
   */
  sendBytesMax?: number;
}

/** A request on a socket, accepted as its route accepts it. */
export interface Accepted {
  readonly ask: Omit<Ask, "framing">;
  readonly context: AnswerContext;
  readonly exchange: Exchange;
}

/** What a session needs from its handler. */
export interface SocketOptions {
  readonly streaming: Streaming;
  readonly owner: string;
  readonly limits: Required<SocketLimits>;
  /** A ping after so much silence while a stream runs; 0 is never. */
  readonly keepAliveMs: number;
  /** What the socket speaks, whatever the routes of its streams do: each data an object. */
  readonly dialect: string;
  /** @throws RequestError that names every bad field */
  readonly accept: (body: JsonObject, idempotencyKey: string | undefined) => Accepted;
  /** The envelope of a failure before a request was accepted. */
  readonly errorBody: (error: PublicError) => unknown;
  /** What may be told of whatever was thrown; reports what is news. */
  readonly tell: (thrown: unknown) => PublicError;
  /** Told of a limit that closes the socket, by the name of its option. Default nobody. */
  readonly onLimit?: (limit: string) => void;
  /** Told once when the session has ended. */
  readonly onEnd: (session: SocketSession) => void;
}

/** Limits where none are given. */
export const SOCKET_DEFAULTS: Required<SocketLimits> = {
  messageBytesMax: 1 << 20,
  idleMs: 60_000,
  streamsMax: 16,
  sendBytesMax: 64 << 10,
};

const CLOSE_GOING_AWAY = 1001;
const CLOSE_POLICY = 1008;
const CLOSE_TOO_LARGE = 1009;
/** Pause between two looks for room on a socket that cannot tell. */
const POLL_MS = 5;
/** How long the last events of ended streams may take to leave at a shutdown. */
const FLUSH_MS = 1000;
const NAME_CHARS_MAX = 255;

/** A field of a client's message that is a string, if it is there. */
function stringOf(message: JsonObject, field: string, charsMax: number): string | undefined {
  const value = message[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string" && value !== "" && value.length <= charsMax) return value;
  const expected = `expected a string of 1 to ${charsMax} characters`;
  throw new RequestError(`Cannot accept the message: ${field} is wrong, ${expected}`, [
    { field, message: expected },
  ]);
}

function streamIdOf(message: JsonObject): string {
  const id = stringOf(message, "stream", 64);
  if (id !== undefined) return id;
  const expected = "expected the id of a stream";
  throw new RequestError(`Cannot accept the message: stream is missing, ${expected}`, [
    { field: "stream", message: expected },
  ]);
}

/** The cursor of a resume message: a seq as a number, or any cursor as a string. */
function fromOf(message: JsonObject): string | undefined {
  const { from } = message;
  return typeof from === "number" ? String(from) : stringOf(message, "from", 64);
}

/** What an error message says beside the error: what the client can tell its request by. */
interface Asked {
  readonly stream?: string | undefined;
  readonly request_id?: string | undefined;
  /** The envelope; that of the request once it is accepted. */
  errorBody: (error: PublicError) => unknown;
}

/** One stream that is written to the socket. */
class Reading {
  readonly attached: Attached;
  readonly encode: Encode;
  /** Settles when nobody wants it any more. */
  readonly left: Promise<void>;
  #leave: () => void = () => undefined;
  isLeft = false;

  constructor(attached: Attached, encode: Encode) {
    this.attached = attached;
    this.encode = encode;
    this.left = new Promise((resolve) => this.#leave = resolve);
  }

  get id(): string {
    return this.attached.stream.record.id;
  }

  get reader(): StreamReader {
    return this.attached.reader;
  }

  /** A notice as texts; it has no place in the stream. */
  notices(event: NoticeEvent): string[] {
    const { id } = this;
    return this.encode(event, 0).map(({ event, data }) =>
      merged({ type: event, stream: id }, data)
    );
  }

  leave(): void {
    this.isLeft = true;
    this.#leave();
  }

  /** The messages of an event that the client does not have, as texts. */
  texts({ seq, event }: Entry): string[] {
    const { cursor } = this.attached;
    const encoded = this.encode(event, seq);
    const texts = encoded.map((message, i) => this.#text(message, seq, i + 1, encoded.length));
    return texts.slice(partsDelivered(cursor, seq, encoded.length));
  }

  /** The data is an object already, so that the fields of the socket go in front of it. */
  #text({ event, data }: SseMessage, seq: number, part: number, parts: number): string {
    const id = messageId(this.id, seq, part, parts);
    return merged({ type: event, stream: this.id, id, seq }, data);
  }
}

/** An object in front of one that is text already. */
function merged(head: object, data = "{}"): string {
  return `${JSON.stringify(head).slice(0, -1)},${data.slice(1)}`;
}

/** One client; see the module. */
export class SocketSession implements SocketListener {
  readonly #socket: Socket;
  readonly #options: SocketOptions;
  readonly #readings = new Map<string, Reading>();
  /** Requests that wait for their stream, and streams that are written. */
  readonly #jobs = new Set<Promise<void>>();
  #isClosed = false;
  /** The idle time, or the next ping. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #poll: ReturnType<typeof setInterval> | undefined;
  /** What waits for room. */
  #room: PromiseWithResolvers<void> | undefined;
  #sentAt = performance.now();
  /** Characters of replies that were made while there was no room. */
  #replied = 0;

  /** Takes an open socket. */
  constructor(socket: Socket, options: SocketOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#arm();
  }

  /** Takes one message of the client: text, or anything else where it was binary. */
  onMessage(message: unknown): void {
    if (this.#isClosed) return;
    const { messageBytesMax } = this.#options.limits;
    if (sizeOf(message, messageBytesMax) > messageBytesMax) {
      this.#options.onLimit?.("sockets.messageBytesMax");
      return this.#close(CLOSE_TOO_LARGE, `a message may have ${messageBytesMax} bytes`);
    }
    const asked: Asked = { errorBody: this.#options.errorBody };
    try {
      if (typeof message !== "string") {
        throw new RequestError("Cannot read the message: it is binary, expected text");
      }
      this.#take(parseJsonObject(message, "message"), asked);
    } catch (thrown) {
      this.#refuse(thrown, asked);
    }
    this.#arm();
  }

  /** There may be room again. */
  onDrain(): void {
    if (!this.#isClosed && !this.#hasRoom()) return;
    clearInterval(this.#poll);
    this.#poll = undefined;
    this.#room?.resolve();
    this.#room = undefined;
  }

  /** The socket has closed, whoever closed it: its readers leave their streams. */
  onClose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.onDrain();
    for (const reading of this.#readings.values()) reading.leave();
    this.#options.onEnd(this);
  }

  /** The server stops: what has ended is still sent, then the client is told, then it is closed. */
  async shutDown(): Promise<void> {
    await within(Promise.all(this.#jobs), FLUSH_MS);
    this.#send({ type: "shutdown" });
    this.#close(CLOSE_GOING_AWAY, "the server stops");
  }

  #take(message: JsonObject, { errorBody }: Asked): void {
    const { streaming, owner } = this.#options;
    switch (message["type"]) {
      case "ping":
        return this.#reply({ type: "pong" });
      case "pong":
        return;
      case "request": {
        const asked = { request_id: stringOf(message, "request_id", NAME_CHARS_MAX), errorBody };
        const key = stringOf(message, "idempotency_key", NAME_CHARS_MAX);
        return this.#start(asked, () => this.#request(message, key, asked));
      }
      case "resume": {
        const stream = streamIdOf(message);
        const from = fromOf(message);
        return this.#start({ stream, errorBody }, () => {
          this.#refuseSecond(stream);
          return streaming.reopen(stream, owner, from);
        });
      }
      case "stop": {
        const stream = streamIdOf(message);
        streaming.stop(stream, owner)
          .catch((thrown) => this.#refuse(thrown, { stream, errorBody }));
        return;
      }
      case "control": {
        const stream = streamIdOf(message);
        const request_id = stringOf(message, "request_id", NAME_CHARS_MAX);
        this.#control(stream, message, request_id)
          .catch((thrown) => this.#refuse(thrown, { stream, request_id, errorBody }));
        return;
      }
      default: {
        const expected = "expected request, resume, control, stop, ping or pong";
        throw new RequestError(`Cannot accept the message: its type is unknown, ${expected}`, [
          { field: "type", message: expected },
        ]);
      }
    }
  }

  /** Begins a stream or finds it, and writes it to its end. */
  #start(asked: Asked, attach: () => Promise<Attached>): void {
    const { streamsMax } = this.#options.limits;
    if (this.#jobs.size >= streamsMax) {
      const refusal = new OverloadedError(
        `Cannot start a stream: ${this.#jobs.size} run on this socket, expected fewer than ` +
          `${streamsMax}, wait for one to end`,
        1,
        "overloaded",
        "sockets.streamsMax",
      );
      return this.#refuse(refusal, asked);
    }
    const job = this.#write(asked, attach)
      .catch((thrown) => this.#refuse(thrown, asked))
      .finally(() => {
        this.#jobs.delete(job);
        this.#arm();
      });
    this.#jobs.add(job);
  }

  async #request(
    message: JsonObject,
    idempotencyKey: string | undefined,
    asked: Asked,
  ): Promise<Attached> {
    const { type: _type, idempotency_key: _key, request_id: _id, ...body } = message;
    const { ask, context, exchange } = this.#options.accept(body, idempotencyKey);
    asked.errorBody = (error) => exchange.errorBody(error);
    return await this.#options.streaming.begin(ask, context, exchange);
  }

  /** As `POST /v1/streams/{id}/control`, with its answer as a message. */
  async #control(stream: string, message: JsonObject, request_id?: string): Promise<void> {
    const control = readControl(message);
    await this.#options.streaming.control(stream, this.#options.owner, control);
    this.#reply({ type: "control", stream, request_id, action: control.action });
  }

  #refuseSecond(id: string): void {
    if (!this.#readings.has(id)) return;
    throw new RequestError(
      `Cannot read the stream "${id}": this socket reads it already`,
      [],
      { code: "stream_in_use", status: 409 },
    );
  }

  async #write(
    { request_id }: Asked,
    attach: () => Promise<Attached>,
  ): Promise<void> {
    const attached = await attach();
    const { stream, reader, context } = attached;
    const { id } = stream.record;
    try {
      if (this.#isClosed) return;
      this.#refuseSecond(id);
      const { streaming, dialect } = this.#options;
      const reading = new Reading(attached, streaming.encoder(attached, dialect));
      this.#readings.set(id, reading);
      reader.onEvict = () => this.#evict(reading);
      const { model, created } = context;
      this.#send({ type: "metadata", stream: id, request_id, model: model.id, created });
      await Promise.race([this.#pump(reading), reading.left]);
    } finally {
      if (this.#readings.get(id)?.reader === reader) this.#readings.delete(id);
      void reader.close();
    }
  }

  /** Reads while there is room; one that finds none for too long is put out, see `stallMs`. */
  async #pump(reading: Reading): Promise<void> {
    const listener = new Listener(reading.reader, reading.attached.progress);
    for (;;) {
      while (!this.#isClosed && !this.#hasRoom()) await this.#roomAgain();
      if (reading.isLeft) return;
      const entry = await listener.next();
      if (entry === undefined || reading.isLeft) return;
      if ("type" in entry) {
        for (const text of reading.notices(entry)) this.#sendText(text);
        continue;
      }
      for (const text of reading.texts(entry)) this.#sendText(text);
      if (isTerminal(entry.event)) return;
    }
  }

  /** The reader was put out; the stream itself may go on. */
  #evict(reading: Reading): void {
    this.#refuse(
      new OverloadedError(
        "Cannot go on with the stream on this socket: it was not read for too long, or read for " +
          "too long, resume it",
        1,
      ),
      { stream: reading.id, errorBody: this.#options.errorBody },
    );
    reading.leave();
  }

  #hasRoom(): boolean {
    return this.#socket.bufferedAmount < this.#options.limits.sendBytesMax;
  }

  #roomAgain(): Promise<void> {
    if (!this.#socket.drains) this.#poll ??= setInterval(() => this.onDrain(), POLL_MS);
    this.#room ??= Promise.withResolvers<void>();
    return this.#room.promise;
  }

  #refuse(thrown: unknown, { stream, request_id, errorBody }: Asked): void {
    const error = this.#options.tell(thrown);
    const { retryAfterS: retry_after_s } = error;
    const body = errorBody(error) as JsonObject;
    this.#reply({ type: "error", stream, request_id, ...body, retry_after_s });
  }

  /** Sends what the client asked for; one that asks without reading is closed. */
  #reply(message: JsonObject): void {
    if (this.#hasRoom()) this.#replied = 0;
    const text = JSON.stringify(message);
    this.#replied += text.length;
    if (this.#replied > this.#options.limits.sendBytesMax) {
      this.#options.onLimit?.("sockets.sendBytesMax");
      return this.#close(CLOSE_POLICY, "the client does not read");
    }
    this.#sendText(text);
  }

  #send(message: JsonObject): void {
    this.#sendText(JSON.stringify(message));
  }

  #sendText(text: string): void {
    if (this.#isClosed) return;
    this.#sentAt = performance.now();
    this.#socket.send(text);
  }

  #close(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#socket.close(code, reason);
    this.onClose();
  }

  /** Sets the timer that fits: pings while a stream runs, the idle time otherwise. */
  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    const { keepAliveMs, limits } = this.#options;
    if (this.#jobs.size === 0) {
      if (limits.idleMs === 0) return;
      this.#timer = setTimeout(() => this.#closeIdle(), limits.idleMs);
    } else if (keepAliveMs > 0) {
      const left = this.#sentAt + keepAliveMs - performance.now();
      this.#timer = setTimeout(() => this.#ping(), Math.max(1, Math.ceil(left)));
    }
  }

  #closeIdle(): void {
    this.#options.onLimit?.("sockets.idleMs");
    this.#close(CLOSE_GOING_AWAY, "idle");
  }

  #ping(): void {
    const isSilent = performance.now() - this.#sentAt >= this.#options.keepAliveMs;
    // A client that does not read needs no sign of life.
    if (!this.#hasRoom()) this.#sentAt = performance.now();
    else if (isSilent) this.#send({ type: "ping" });
    this.#arm();
  }
}

/** Bytes of a message as UTF-8; counted only where they may be more than `bytesMax`. */
function sizeOf(message: unknown, bytesMax: number): number {
  if (typeof message === "string") {
    const isSmall = message.length * 3 <= bytesMax;
    return isSmall ? message.length : new TextEncoder().encode(message).length;
  }
  return 0;
}
