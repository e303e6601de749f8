/**
 * A handler on Deno.serve: the options that Deno needs, with @std/http's router in front.
 *
 * The only module that imports @std/http.
 *
 * @module
 */
import { STATUS_CODE } from "@std/http/status";
import { type Route, route } from "@std/http/unstable-route";
import { within } from "../../stream/within.ts";
import { visitOf } from "../gate.ts";
import type { Handler, OpenSocket } from "../handler.ts";
import type { SocketListener } from "../socket.ts";
import { readySignals } from "./deno_descriptors.ts";
import {
  DEFAULT_ADDRESS,
  type RunningServer,
  schemeOf,
  type ServeOptions,
  urlOf,
  withKeepAlive,
} from "./server.ts";

/** How to serve a handler on Deno. */
export interface DenoServeOptions extends ServeOptions {
  /** Rows of the program's own that are asked before the handler. Default none. */
  routes?: Route[];
}

/** Pause before listening again, so that a machine without file descriptors is not kept busy. */
const LISTEN_AGAIN_MS = 100;
/** Seconds without a pong after which a WebSocket is closed. */
const IDLE_TIMEOUT_S = 30;
/** How long the last bytes of ended streams may take to leave. */
const FLUSH_MS = 100;

/** Starts to listen. Throws where the address is taken. */
export function serve(options: DenoServeOptions): RunningServer {
  readySignals();
  const { handler } = options;
  const forced = new AbortController();
  /** Settle when their WebSockets have closed. */
  const sockets = new Set<Promise<void>>();
  let isStopping = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const answer = route(options.routes ?? [], (request) => answered(request, handler, sockets));
  const listen = (hostname: string, port: number): Deno.HttpServer<Deno.NetAddr> => {
    const server = Deno.serve({
      hostname,
      port,
      ...options.tls,
      signal: forced.signal,
      onListen: () => undefined,
      onError: () => new Response(null, { status: STATUS_CODE.InternalServerError }),
    }, answer);
    // Without file descriptors Deno gives up the listener, and the rejection would end the process.
    server.finished.catch(() => {
      if (!isStopping) timer = setTimeout(listenAgain, LISTEN_AGAIN_MS);
    });
    return server;
  };
  let server = listen(
    options.hostname ?? DEFAULT_ADDRESS.hostname,
    options.port ?? DEFAULT_ADDRESS.port,
  );
  const { hostname, port } = server.addr;
  function listenAgain(): void {
    try {
      server = listen(hostname, port);
    } catch {
      // Still no descriptor.
      timer = setTimeout(listenAgain, LISTEN_AGAIN_MS);
    }
  }
  return {
    hostname,
    port,
    url: urlOf(hostname, port, schemeOf(options)),
    async stop(graceMs = 0) {
      isStopping = true;
      clearTimeout(timer);
      // shutdown() cuts WebSockets off at once. Where there are some it comes after the drain, and
      // until then new connections are taken, and refused by the handler.
      const hasSockets = sockets.size > 0;
      if (hasSockets) {
        await handler.drain(graceMs);
        await within(Promise.all(sockets), FLUSH_MS);
      }
      // It waits for open streams without end; the abort closes them, and throws where nothing is
      // open.
      let isClosed = false;
      const closed = server.shutdown().then(() => isClosed = true);
      if (!hasSockets) await handler.drain(graceMs);
      await within(closed, FLUSH_MS);
      if (!isClosed) forced.abort();
      // Deno cannot close the socket of a reader that does not read.
      await within(closed, FLUSH_MS);
    },
  };
}

/** Answers a request, with a WebSocket where it asks for one. */
async function answered(
  request: Request,
  handler: Handler,
  sockets: Set<Promise<void>>,
): Promise<Response> {
  visitOf(request).isRemote = true;
  const upgrade = await handler.upgrade?.(request);
  if (upgrade instanceof Response) return upgrade;
  // A connection of HTTP/2 has no such header, and Deno drops it there.
  return upgrade === undefined
    ? withKeepAlive(await handler(request))
    : opened(request, upgrade, sockets);
}

/** Opens a WebSocket. Deno pings it by itself and closes it where no pong comes. */
function opened(request: Request, open: OpenSocket, sockets: Set<Promise<void>>): Response {
  const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: IDLE_TIMEOUT_S });
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  sockets.add(closed);
  let session: SocketListener | undefined;
  socket.addEventListener("open", () => {
    session = open({
      send: (text) => socket.send(text),
      close: (code, reason) => socket.close(code, reason),
      get bufferedAmount() {
        return socket.bufferedAmount;
      },
      drains: false,
    });
  });
  socket.addEventListener("message", ({ data }) => session?.onMessage(data));
  const end = (): void => {
    session?.onClose();
    sockets.delete(closed);
    resolve();
  };
  socket.addEventListener("error", end);
  socket.addEventListener("close", end);
  return response;
}
