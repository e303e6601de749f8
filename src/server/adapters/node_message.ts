/**
 * A request of node:http as a Request, and a Response as an answer of node:http; both bodies are
 * pulled, so that neither side is ahead of the other.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import type { Duplex, Writable } from "node:stream";

/** Methods that no Request has. */
const FORBIDDEN_METHODS = /^(?:CONNECT|TRACE|TRACK)$/i;
const ABSOLUTE_TARGET = /^https?:\/\/([^/?#]*)/i;
/** A host that can stand in a URL; whether it is one that is answered is not told here. */
const PLAIN_HOST = /^[\w.:[\]-]+$/;
/** How long the last bytes of an answer may take to leave, in milliseconds. */
const FLUSH_MS = 30_000;
/** The same for what is said to a client that is not answered any more. */
const LAST_WORDS_MS = 500;

/** The address that a client reached; what stands for a host where it names none. */
function localHost({ socket }: IncomingMessage): string {
  const { localAddress = "127.0.0.1", localPort = 80 } = socket;
  const address = localAddress.replace(/^::ffff:/, "");
  return `${address.includes(":") ? `[${address}]` : address}:${localPort}`;
}

/** The URL of a request; the host of an absolute target stands for the header, as HTTP says. */
function urlOf(incoming: IncomingMessage, headers: Headers): string | undefined {
  const target = incoming.url ?? "";
  const absolute = ABSOLUTE_TARGET.exec(target);
  if (absolute !== null) headers.set("host", absolute[1] ?? "");
  const rest = absolute === null ? target : target.slice(absolute[0].length);
  if (absolute === null && !/^[/*]/.test(rest)) return undefined;
  const path = rest.startsWith("/") ? rest : `/${rest}`;
  const scheme = (incoming.socket as Partial<TLSSocket>).encrypted ? "https" : "http";
  const host = headers.get("host");
  const url = `${scheme}://${host !== null && PLAIN_HOST.test(host) ? host : localHost(incoming)}`;
  // The gate refuses a malformed host by its header.
  return `${URL.canParse(url) ? url : `${scheme}://${localHost(incoming)}`}${path}`;
}

/** The body as a stream: the socket is read when somebody reads the stream. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let stop: (() => void) | undefined;
  const begin = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
    const onData = (bytes: Uint8Array): void => {
      incoming.pause();
      controller.enqueue(bytes);
    };
    const onEnd = (): void => {
      stop?.();
      controller.close();
    };
    const onCut = (): void => {
      stop?.();
      controller.error(new DOMException("The body of the request was cut off", "AbortError"));
    };
    incoming.on("data", onData).on("end", onEnd).on("close", onCut);
    stop = () => incoming.off("data", onData).off("end", onEnd).off("close", onCut);
  };
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (stop === undefined) begin(controller);
      incoming.resume();
    },
    cancel: () => stop?.(),
  }, { highWaterMark: 0 });
}

/** A request of node:http as a Request; undefined where none can be made of it. */
export function requestOf(incoming: IncomingMessage): Request | undefined {
  const { method = "GET", rawHeaders } = incoming;
  if (FORBIDDEN_METHODS.test(method)) return undefined;
  const headers = new Headers();
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
  const url = urlOf(incoming, headers);
  if (url === undefined) return undefined;
  if (method === "GET" || method === "HEAD") return new Request(url, { method, headers });
  const init = { method, headers, body: bodyOf(incoming), duplex: "half" };
  return new Request(url, init as RequestInit);
}

/** Waits until a stream takes bytes again, or is closed. */
function drained(writable: Writable): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      writable.off("drain", go).off("close", go);
      resolve();
    };
    writable.on("drain", go).on("close", go);
  });
}

/** Writes a body; asks for more of it only when what came before has left. */
async function pump(body: ReadableStream<Uint8Array>, writable: Writable): Promise<void> {
  const reader = body.getReader();
  let isGone = false;
  const onClose = (): void => {
    isGone = true;
    // Whatever its end throws has been told to the handler's own reporter.
    reader.cancel().catch(() => undefined);
  };
  writable.on("close", onClose);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || isGone) return;
      if (!writable.write(value)) await drained(writable);
    }
  } finally {
    writable.off("close", onClose);
  }
}

/** Sends a response. Resolves when its last byte has left or its client is gone; never rejects. */
export async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  const over = new Promise<void>((resolve) => outgoing.once("close", resolve));
  if (outgoing.destroyed || outgoing.socket?.destroyed) {
    await response.body?.cancel();
    return;
  }
  outgoing.writeHead(response.status, [...response.headers].flat());
  try {
    if (response.body !== null) await pump(response.body, outgoing);
  } catch {
    // Whoever made the body has told why it failed; that it is cut tells the client.
    outgoing.destroy();
  }
  outgoing.end();
  const timer = setTimeout(() => outgoing.destroy(), FLUSH_MS);
  await over;
  clearTimeout(timer);
}

/** Says the last on a connection and closes it, also where the client does not. */
export function endWith(socket: Duplex, bytes: string | Uint8Array): void {
  socket.end(bytes);
  const timer = setTimeout(() => socket.destroy(), LAST_WORDS_MS);
  socket.once("close", () => clearTimeout(timer));
}
