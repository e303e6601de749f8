/**
 * A handler on node:http, for addresses that strangers reach: it cuts slow clients, which
 * Deno.serve does not, and closes connections that do not read. Deno and Bun both have it.
 *
 * @module
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { SluiceError } from "../../errors.ts";
import { within } from "../../stream/within.ts";
import { endingOf } from "../ending.ts";
import { visitOf } from "../gate.ts";
import type { Handler } from "../handler.ts";
import { backlogMax, type Connection, Connections, connectionsMax } from "./connections.ts";
import { keepListening, readySignals } from "./deno_descriptors.ts";
import { endWith, requestOf, send } from "./node_message.ts";
import { acceptSocket, refuseSocket } from "./node_socket.ts";
import {
  DEFAULT_ADDRESS,
  type RunningServer,
  schemeOf,
  type ServeOptions,
  type Tls,
  urlOf,
  withKeepAlive,
} from "./server.ts";

/** How to serve a handler on node:http. */
export interface NodeServeOptions extends ServeOptions {
  /** Milliseconds for the headers of a request. Default 10 s. */
  headersTimeoutMs?: number;
  /** Milliseconds for a whole request, its body included. Default 30 s. */
  requestTimeoutMs?: number;
  /** Milliseconds that a connection may wait for its next request. Default 30 s. */
  keepAliveTimeoutMs?: number;
  /** Connections at once. Default half of the process's file descriptors, at most 20 000. */
  connectionsMax?: number;
}

const HEADER_BYTES_MAX = 16 << 10;
/** Connections that are still shaking hands for TLS, by those that have. */
const HANDSHAKES_SHARE = 0.25;
/** How often slow clients are looked for. */
const CHECK_MS = 1000;
/** How long the last bytes of ended streams may take to leave. */
const FLUSH_MS = 100;
/** Headers by which a client asks for another protocol. */
const UPGRADE_HEADERS = /^(?:connection|upgrade|http2-settings)$/i;

/** Starts to listen. Rejects where the address is taken. */
export async function serve(options: NodeServeOptions): Promise<RunningServer> {
  const { handler } = options;
  readySignals();
  const most = options.connectionsMax ?? connectionsMax();
  const connections = new Connections(most);
  const server = makeServer(options);
  server.maxConnections = Math.ceil(most * (1 + HANDSHAKES_SHARE));
  // With TLS a connection is one that has shaken hands; those that have not time out.
  server.on(options.tls === undefined ? "connection" : "secureConnection", (socket) => {
    socket.on("error", () => undefined);
    connections.add(socket);
  });
  server.on("request", (incoming: IncomingMessage, outgoing: ServerResponse) => {
    void answer(handler, connections, incoming, outgoing);
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Duplex, head: Uint8Array) => {
    void upgrade(handler, connections, server, incoming, socket, head);
  });
  server.on("connect", (_incoming, socket: Duplex) => endWith(socket, refusalOf(405)));
  server.on("clientError", (error: Error & { code?: string }, socket: Duplex) => {
    if (!socket.writable) return void socket.destroy();
    const isLate = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
    endWith(socket, refusalOf(isLate ? 408 : error.code === "HPE_HEADER_OVERFLOW" ? 431 : 400));
  });
  await listen(
    server,
    options.hostname ?? DEFAULT_ADDRESS.hostname,
    options.port ?? DEFAULT_ADDRESS.port,
  );
  const { address: hostname, port } = server.address() as AddressInfo;
  const listenAgain = () => listen(server, hostname, port);
  const lookAway = "Deno" in globalThis
    ? keepListening(server, { hostname, port }, listenAgain)
    : () => undefined;
  return {
    hostname,
    port,
    url: urlOf(hostname, port, schemeOf(options)),
    async stop(graceMs = 0) {
      lookAway();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      await handler.drain(graceMs);
      await within(connections.answered(), FLUSH_MS);
      connections.end();
      await within(connections.closed(), FLUSH_MS);
      connections.destroy();
      server.closeAllConnections();
      await closed;
    },
  };
}

function makeServer(options: NodeServeOptions): Server {
  const limits = {
    headersTimeout: options.headersTimeoutMs ?? 10_000,
    requestTimeout: options.requestTimeoutMs ?? 30_000,
    keepAliveTimeout: options.keepAliveTimeoutMs ?? 30_000,
    connectionsCheckingInterval: CHECK_MS,
    maxHeaderSize: HEADER_BYTES_MAX,
    noDelay: true,
    keepAlive: true,
  };
  const { tls } = options;
  if (tls !== undefined) checkTls(tls);
  return tls === undefined ? createServer(limits) : createTlsServer({
    ...limits,
    ...tls,
    handshakeTimeout: limits.headersTimeout,
  });
}

/** Throws where a certificate or its key is none; Deno looks at them only when a client comes. */
function checkTls({ cert, key }: Tls): void {
  const isPair = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  if (isPair) return;
  throw new SluiceError(
    "Cannot listen for HTTPS: the private key is not that of the certificate",
    "invalid_certificate",
    500,
  );
}

async function listen(server: Server, hostname: string, port: number): Promise<void> {
  const { promise: listening, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host: hostname, port, backlog: backlogMax() }, resolve);
  try {
    await listening;
  } finally {
    server.off("error", reject);
  }
}

/** An answer to what is no request that a handler could be given. */
function refusalOf(status: number): string {
  const allow = status === 405 ? "Allow: GET, HEAD, POST, DELETE, OPTIONS\r\n" : "";
  return `HTTP/1.1 ${status} \r\n${allow}Content-Length: 0\r\nConnection: close\r\n\r\n`;
}

async function answer(
  handler: Handler,
  connections: Connections,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  incoming.on("error", () => undefined);
  outgoing.on("error", () => undefined);
  const { socket } = incoming;
  let response: Response;
  try {
    response = await respond(handler, incoming);
  } catch {
    // The handler never throws; one that does has told why or has not.
    response = new Response(null, { status: 500 });
  }
  const ending = endingOf(response);
  if (ending !== undefined) {
    ending.onEnd = (isStalled) => {
      if (isStalled) socket.destroy();
    };
  }
  const isOver = connections.answer(socket);
  await send(
    outgoing.shouldKeepAlive && incoming.httpVersion === "1.1" ? withKeepAlive(response) : response,
    outgoing,
  );
  // What is left of a body that nobody wants is read and dropped, within the time of a request.
  incoming.resume();
  isOver();
}

async function respond(handler: Handler, incoming: IncomingMessage): Promise<Response> {
  const request = requestOf(incoming);
  if (request === undefined) {
    return new Response(null, { status: incoming.method === "TRACE" ? 405 : 400 });
  }
  visitOf(request).isRemote = true;
  return await handler(request);
}

async function upgrade(
  handler: Handler,
  connections: Connections,
  server: Server,
  incoming: IncomingMessage,
  socket: Duplex,
  head: Uint8Array,
): Promise<void> {
  socket.on("error", () => undefined);
  const request = requestOf(incoming);
  if (request === undefined) return endWith(socket, refusalOf(400));
  visitOf(request).isRemote = true;
  const upgraded = await handler.upgrade?.(request);
  if (socket.destroyed) return;
  if (upgraded === undefined) {
    // Another protocol, which a server may overlook: the same request again, without the wish.
    socket.unshift(withoutUpgrade(incoming, head));
    // Bun has read the head as that of a request, and reads its body the same way.
    incoming.on("data", (bytes: Uint8Array) => socket.push(bytes));
    server.emit("connection", socket);
  } else if (upgraded instanceof Response) await refuseSocket(socket, upgraded);
  else {
    const isOver = connections.answer(socket as Duplex & Connection);
    socket.once("close", isOver);
    acceptSocket(incoming, socket, head, upgraded);
  }
}

/** The head of a request and what came behind it, without the wish for another protocol. */
function withoutUpgrade(
  { method, url, rawHeaders }: IncomingMessage,
  rest: Uint8Array,
): Uint8Array {
  const lines = [`${method} ${url} HTTP/1.1`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name = "", value = ""] = rawHeaders.slice(i, i + 2);
    if (!UPGRADE_HEADERS.test(name)) lines.push(`${name}: ${value}`);
    else if (/\bclose\b/i.test(value)) lines.push("Connection: close");
  }
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), rest]);
}
