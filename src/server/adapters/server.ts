/**
 * What the adapters have in common: the options of a server, and the one that runs.
 *
 * @module
 */
import type { Handler } from "../handler.ts";

/** What a server shows and proves with TLS, both as PEM. */
export interface Tls {
  /** The certificate, and those between it and one that clients know. */
  cert: string;
  /** Its private key. */
  key: string;
}

/** How to serve a handler. */
export interface ServeOptions {
  /** The handler, as `createHandler` makes it. */
  handler: Handler;
  /** Address to listen on. Default 127.0.0.1. */
  hostname?: string;
  /** Port to listen on; 0 is any free one. Default 8080. */
  port?: number;
  /** Listens for TLS alone. Default plain HTTP. */
  tls?: Tls;
}

/** A server that listens. */
export interface RunningServer {
  readonly hostname: string;
  /** The port that it has, also where 0 was asked for. */
  readonly port: number;
  /** Where a client on this machine reaches it, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /**
   * Ends it: no new connections, no new generations, the running ones may end for `graceMs`
   * (default 0), then every connection is closed.
   */
  stop(graceMs?: number): Promise<void>;
}

/** Address and port where options leave them out. */
export const DEFAULT_ADDRESS = { hostname: "127.0.0.1", port: 8080 } as const;

/** The URL of an address; an address that means every interface is reached by the local one. */
export function urlOf(hostname: string, port: number, scheme = "http"): string {
  if (hostname === "0.0.0.0") return `${scheme}://127.0.0.1:${port}`;
  if (hostname === "::") return `${scheme}://[::1]:${port}`;
  return `${scheme}://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** The scheme of a server's URL. */
export function schemeOf({ tls }: ServeOptions): "http" | "https" {
  return tls === undefined ? "http" : "https";
}

/** Says that the connection of a stream stays open; only where it is known to be HTTP/1.1. */
export function withKeepAlive(response: Response): Response {
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
  if (isStream) response.headers.set("connection", "keep-alive");
  return response;
}
