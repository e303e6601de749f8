/**
 * Cors: which pages of other origins may use the server, by an exact list.
 *
 * Cookies mean nothing here, so browsers are never told to send credentials, whatever the list.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";

const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^\sA-Z/?#@,*]+$/;
const METHODS = "GET, HEAD, POST, DELETE, OPTIONS";
/** Response headers that a page may read. */
const EXPOSED = [
  "X-Stream-Id",
  "Retry-After",
  "Server-Timing",
  ...["Limit", "Remaining", "Reset"].flatMap((figure) =>
    ["Requests", "Tokens"].map((unit) => `X-RateLimit-${figure}-${unit}`)
  ),
].join(", ");
/** SDKs send headers of their own, so that a list of them would never be whole. */
const HEADER_NAMES = /^[\w-]+(?:\s*,\s*[\w-]+)*$/;
const HEADER_NAMES_CHARS_MAX = 2048;
/** Seconds that a browser may remember what it was told. */
const MAX_AGE_S = 600;

/** The origins that are let in. */
export class Cors {
  readonly #origins: ReadonlySet<string> | "*";

  /**
   * @param origins such as `https://chat.example` or `http://localhost:5173`; `"*"` is every one
   * @throws SluiceError `invalid_option` where one is no origin
   */
  constructor(origins: readonly string[] | "*" = []) {
    this.#origins = origins === "*" ? origins : new Set(origins);
    const wrong = origins === "*" ? undefined : origins.find((origin) => !ORIGIN.test(origin));
    if (wrong === undefined) return;
    throw new SluiceError(
      `Cannot allow the origin ${JSON.stringify(wrong)}: expected scheme://host or ` +
        "scheme://host:port in lower case, without a path",
      "invalid_option",
      500,
    );
  }

  /** Whether the request says that it comes from a page of an origin on the list. */
  allows({ headers }: Request): boolean {
    const origin = headers.get("origin");
    // Any sandboxed frame and any local file says null.
    if (origin === null || origin === "null") return false;
    return this.#origins === "*" || this.#origins.has(origin);
  }

  /** The answer to a browser that asks before it sends; undefined where the request is no such. */
  preflight(request: Request): Response | undefined {
    const { method, headers } = request;
    if (method !== "OPTIONS" || !headers.has("access-control-request-method")) return undefined;
    if (!this.allows(request)) return undefined;
    const names = headers.get("access-control-request-headers") ?? "";
    const isList = names.length <= HEADER_NAMES_CHARS_MAX && HEADER_NAMES.test(names);
    return new Response(null, {
      status: 204,
      headers: {
        "access-control-allow-methods": METHODS,
        ...(isList ? { "access-control-allow-headers": names } : {}),
        "access-control-max-age": String(MAX_AGE_S),
      },
    });
  }

  /** Tells the browser whether the page may read the response. */
  mark(request: Request, { headers }: Response): void {
    if (this.#origins !== "*" && this.#origins.size === 0) return;
    headers.append("vary", "Origin");
    const origin = request.headers.get("origin");
    if (origin === null || !this.allows(request)) return;
    headers.set("access-control-allow-origin", this.#origins === "*" ? "*" : origin);
    headers.set("access-control-expose-headers", EXPOSED);
  }
}
