/**
 * What is checked of a request for a WebSocket before it is opened.
 *
 * @module
 */
import { RequestError } from "../errors.ts";
import { isSameOrigin, visitOf } from "./gate.ts";

/**
 * Sees that a handshake is whole and is not begun by a page of another origin: browsers let any
 * page open a WebSocket, and say only where it is from.
 *
 * @throws RequestError with status 400 or 403
 */
export function checkHandshake(request: Request): void {
  const { headers } = request;
  const isWhole = /\bupgrade\b/i.test(headers.get("connection") ?? "") &&
    /^[A-Za-z0-9+/]{22}==$/.test(headers.get("sec-websocket-key") ?? "") &&
    headers.get("sec-websocket-version") === "13";
  if (!isWhole) {
    throw new RequestError(
      "Cannot open the socket: the handshake is not one of WebSocket version 13",
      [],
      { code: "invalid_handshake" },
    );
  }
  if (!headers.has("origin") || visitOf(request).isTrusted || isSameOrigin(request)) return;
  throw new RequestError(
    "Cannot open the socket: it is asked for by a page of another origin",
    [],
    { code: "cross_site", status: 403 },
  );
}

/** True where a request wants a WebSocket. */
export function wantsSocket({ method, headers }: Request): boolean {
  return method === "GET" && headers.get("upgrade")?.toLowerCase() === "websocket";
}
