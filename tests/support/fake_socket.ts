/**
 * What tests of WebSockets share: a handshake, what a client got, and a socket without a network.
 *
 * @module
 */
import { createHandler, type Handler, type HandlerOptions } from "../../src/server/mod.ts";
import type { OpenSocket } from "../../src/server/handler.ts";
import type { SocketListener } from "../../src/server/socket.ts";
import { MockGenerator, type Script } from "./mock_generator.ts";

/** A message as it was parsed. */
export type Message = Record<string, unknown>;

/** A request for a stream. */
export const PROMPT = { type: "request", prompt: "Hi" };
/** Headers of a handshake that is let in. */
export const HANDSHAKE = {
  host: "localhost",
  upgrade: "websocket",
  connection: "keep-alive, Upgrade",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  "sec-websocket-version": "13",
};

/** What a client got, and the wait for it. */
export class Inbox {
  readonly messages: Message[] = [];
  closed: { code: number; reason: string } | undefined;
  #waiting: { condition: () => boolean; resolve: () => void }[] = [];

  push(text: string): void {
    this.messages.push(JSON.parse(text));
    this.check();
  }

  /** Resolves when the condition holds; looked at whenever something comes. */
  when(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ condition, resolve });
      this.check();
    });
  }

  check(): void {
    this.#waiting = this.#waiting.filter(({ condition, resolve }) => {
      if (!condition()) return true;
      resolve();
      return false;
    });
  }

  of(type: string): Message[] {
    return this.messages.filter((message) => message["type"] === type);
  }

  /** The newest message of a type, once there are `count`. */
  async next(type: string, count = 1): Promise<Message> {
    await this.when(() => this.of(type).length >= count);
    return this.of(type)[count - 1]!;
  }
}

/** A socket whose room the test decides. */
export class FakeSocket extends Inbox {
  bufferedAmount = 0;
  readonly drains: boolean;
  bytes = 0;
  session!: SocketListener;

  constructor(drains = true) {
    super();
    this.drains = drains;
  }

  send(text: string): void {
    if (this.closed !== undefined) throw new Error("sent after the close");
    this.bytes += text.length;
    this.push(text);
  }

  close(code: number, reason: string): void {
    this.closed = { code, reason };
    this.check();
  }

  tell(message: unknown): void {
    this.session.onMessage(typeof message === "string" ? message : JSON.stringify(message));
  }
}

/** What `setUp` gives. */
export interface SetUp {
  readonly mock: MockGenerator;
  readonly handler: Handler;
  /** What the handler reported. */
  readonly reported: unknown[];
  /** A handshake, with headers beside or instead of the usual ones. */
  upgrade(
    headers?: Record<string, string>,
    path?: string,
    method?: string,
  ): Promise<OpenSocket | Response | undefined>;
  /** A socket that was let in. */
  open(socket?: FakeSocket, headers?: Record<string, string>): Promise<FakeSocket>;
}

/** A handler of a script, and the ways to its sockets. */
export function setUp(script: Script, options: HandlerOptions = {}): SetUp {
  const mock = new MockGenerator(script);
  const reported: unknown[] = [];
  const onError = (failure: unknown): void => void reported.push(failure);
  const handler = createHandler(mock, { onError, keepAliveMs: 0, ...options });
  const upgrade = (headers: Record<string, string> = {}, path = "/v1/stream", method = "GET") =>
    handler.upgrade!(
      new Request(`http://localhost${path}`, { method, headers: { ...HANDSHAKE, ...headers } }),
    );
  const open = async (socket = new FakeSocket(), headers: Record<string, string> = {}) => {
    const begin = await upgrade(headers);
    if (typeof begin !== "function") throw new Error("the handshake was refused");
    socket.session = begin(socket);
    return socket;
  };
  return { mock, handler, reported, upgrade, open };
}
