/**
 * Upgrades: requests for a WebSocket, and the sessions of those that were opened.
 *
 * @module
 */
import type { Access } from "./access.ts";
import { native } from "./dialects/native.ts";
import type { JsonObject } from "./fields.ts";
import { ownerOf, refuseCrossSite } from "./gate.ts";
import { checkHandshake, wantsSocket } from "./handshake.ts";
import { refusal } from "./json_response.ts";
import type { PublicError } from "./public_error.ts";
import type { Readiness } from "./readiness.ts";
import type { RequestWatch } from "./request_watch.ts";
import {
  type Accepted,
  type Socket,
  type SocketLimits,
  type SocketListener,
  SocketSession,
} from "./socket.ts";
import type { Asker, Streaming } from "./streaming.ts";
import type { Telemetry } from "./telemetry.ts";

/** Begins the session of a socket that an adapter has opened. */
export type OpenSocket = (socket: Socket) => SocketListener;

/** What upgrades need from the handler. */
export interface UpgradeOptions {
  readonly access: Access;
  readonly readiness: Readiness;
  readonly streaming: Streaming;
  readonly telemetry: Telemetry;
  readonly limits: Required<SocketLimits>;
  /** A ping after so much silence while a stream runs; 0 is never. */
  readonly keepAliveMs: number;
  /** @throws RequestError that names every bad field */
  readonly accept: (body: JsonObject, asker: Asker) => Accepted;
  /** What may be told of whatever was thrown; reports what is news. */
  readonly tell: (thrown: unknown) => PublicError;
}

/** The route that has a WebSocket twin, which speaks native whatever its path is bound to. */
export const SOCKET_PATH = "/v1/stream";
/** What the twin speaks. */
export const SOCKET_DIALECT = "native";
const SWITCHING_PROTOCOLS = 101;

/** See the module. */
export class Upgrades {
  readonly #options: UpgradeOptions;
  readonly #sessions = new Set<SocketSession>();

  /** No socket is open yet. */
  constructor(options: UpgradeOptions) {
    this.#options = options;
  }

  /** Sockets that are open. */
  get open(): number {
    return this.#sessions.size;
  }

  /** What begins the session, or a refusal, or undefined where it is no request for a socket. */
  async upgrade(request: Request): Promise<OpenSocket | Response | undefined> {
    if (!wantsSocket(request)) return undefined;
    const { access, readiness, telemetry, tell } = this.#options;
    let isOurs = false;
    const watched = (): RequestWatch => {
      const watch = telemetry.request(request);
      if (isOurs) watch.route = SOCKET_PATH;
      return watch;
    };
    try {
      access.begin(request);
      if (new URL(request.url).pathname !== SOCKET_PATH) return undefined;
      isOurs = true;
      checkHandshake(request);
      refuseCrossSite(request);
      await access.enter(request, "generate");
      if (readiness.isDraining) readiness.ready();
      const owner = await ownerOf(request);
      return (socket) => this.#open(socket, owner, watched());
    } catch (thrown) {
      return watched().answered(refusal(tell(thrown), native.errorBody));
    }
  }

  #open(socket: Socket, owner: string, watch: RequestWatch): SocketSession {
    const { readiness, telemetry, accept, ...options } = this.#options;
    const session = new SocketSession(socket, {
      ...options,
      owner,
      dialect: SOCKET_DIALECT,
      accept: (body, idempotencyKey) => accept(body, { owner, idempotencyKey, watch }),
      errorBody: native.errorBody,
      onLimit: (limit) => telemetry.met(limit),
      onEnd: (ended) => {
        this.#sessions.delete(ended);
        watch.end(SWITCHING_PROTOCOLS);
      },
    });
    this.#sessions.add(session);
    // It was let in before the server began to stop.
    if (readiness.isDraining) void session.shutDown();
    return session;
  }

  /** Closes every socket, each told before. */
  async shutDown(): Promise<void> {
    await Promise.all([...this.#sessions].map((session) => session.shutDown()));
  }
}
