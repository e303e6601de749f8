/**
 * A handler on Bun.serve: the options that Bun needs, and nothing else.
 *
 * @module
 */
import { endingOf } from "../ending.ts";
import type { OpenSocket } from "../handler.ts";
import type { SocketListener } from "../socket.ts";
import {
  DEFAULT_ADDRESS,
  type RunningServer,
  schemeOf,
  type ServeOptions,
  urlOf,
  withKeepAlive,
} from "./server.ts";

/** Seconds without a byte after which Bun drops a client that is not waiting for a generation. */
const IDLE_TIMEOUT_S = 30;
/** A backstop: the handler's own limit is lower and answers in the client's dialect. */
const REQUEST_BYTES_MAX = 64 << 20;

/** A backstop for one WebSocket message and for its send queue; the session's limits are lower. */
const SOCKET_BYTES_MAX = 64 << 20;

/** The part of Bun's ServerWebSocket that is used. */
interface BunSocket {
  readonly data: SocketData;
  send(text: string): number;
  close(code: number, reason: string): void;
  getBufferedAmount(): number;
}

/** What Bun keeps with a WebSocket. */
interface SocketData {
  readonly open: OpenSocket;
  session?: SocketListener;
}

/** Starts to listen. Throws where the address is taken. */
export function serve(options: ServeOptions): RunningServer {
  const { handler } = options;
  // @ts-ignore -- deno check has no types of Bun; tsc has them
  const server = Bun.serve({
    hostname: options.hostname ?? DEFAULT_ADDRESS.hostname,
    port: options.port ?? DEFAULT_ADDRESS.port,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    idleTimeout: IDLE_TIMEOUT_S,
    maxRequestBodySize: REQUEST_BYTES_MAX,
    // Bun's own error page shows the exception and the working folder.
    development: false,
    error: () => new Response(null, { status: 500 }),
    async fetch(request: Request): Promise<Response | undefined> {
      const upgrade = await handler.upgrade?.(request);
      if (upgrade instanceof Response) return upgrade;
      if (upgrade !== undefined) {
        const data: SocketData = { open: upgrade };
        return server.upgrade(request, { data }) ? undefined : new Response(null, { status: 400 });
      }
      const response = await handler(request);
      const ending = endingOf(response);
      if (ending !== undefined) {
        // A generation that thinks is no idle client. Its pings cannot be relied on: they may be
        // off.
        server.timeout(request, 0);
        // What is set for a request stays with its connection, so it must be set back; and no
        // end of a body closes the connection of a client that does not read.
        ending.onEnd = (isStalled) => server.timeout(request, isStalled ? 1 : IDLE_TIMEOUT_S);
      }
      // HTTP/2 is off by default, so every connection is HTTP/1.1.
      return withKeepAlive(response);
    },
    websocket: {
      data: {} as SocketData,
      maxPayloadLength: SOCKET_BYTES_MAX,
      backpressureLimit: SOCKET_BYTES_MAX,
      // A message that is dropped in silence would be a hole in a stream.
      closeOnBackpressureLimit: true,
      idleTimeout: IDLE_TIMEOUT_S,
      open(socket: BunSocket) {
        socket.data.session = socket.data.open({
          send: (text) => void socket.send(text),
          close: (code, reason) => socket.close(code, reason),
          get bufferedAmount() {
            return socket.getBufferedAmount();
          },
          drains: true,
        });
      },
      message: (socket: BunSocket, message: unknown) => socket.data.session?.onMessage(message),
      drain: (socket: BunSocket) => socket.data.session?.onDrain(),
      close: (socket: BunSocket) => socket.data.session?.onClose(),
    },
  });
  const hostname = server.hostname ?? DEFAULT_ADDRESS.hostname;
  const port = server.port ?? 0;
  return {
    hostname,
    port,
    url: urlOf(hostname, port, schemeOf(options)),
    async stop(graceMs = 0) {
      // The first stop() waits for open streams without end; it is the second that closes them.
      const closed = server.stop();
      await handler.drain(graceMs);
      await server.stop(true);
      await closed;
    },
  };
}
