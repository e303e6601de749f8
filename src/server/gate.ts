/**
 * What is checked before anything else is looked at: which host the client asked for, and who sent
 * it here.
 *
 * A browser page of another site can reach a local server by its address (cross-site request) or
 * under the page's own name (DNS rebinding); both stop here. Keys and limits will stand beside it.
 *
 * @module
 */
import { RequestError } from "../errors.ts";

/** Hosts that always pass, with any port. */
const LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"] as const;

/** Name, IPv4 or bracketed IPv6, then maybe a port. Two hosts joined by a comma do not match. */
const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?$/;

/** Decides by the Host header; `"*"` lets every well-formed one pass. */
export class HostGate {
  readonly #allowed: ReadonlySet<string> | "*";

  /**
   * @param hosts names without port that pass beside the local ones; an IPv6 address in brackets
   */
  constructor(hosts: readonly string[] | "*" = []) {
    this.#allowed = hosts === "*"
      ? "*"
      : new Set([...LOCAL_HOSTS, ...hosts.map((host) => host.toLowerCase())]);
  }

  /**
   * @throws RequestError with status 400 where the host is malformed, 403 where it is not allowed
   */
  check(request: Request): void {
    // A request made in process has no Host header; its URL has been parsed already.
    const host = (request.headers.get("host") ?? new URL(request.url).host).toLowerCase();
    const name = HOST.exec(host)?.[1];
    if (name === undefined) {
      throw new RequestError("Cannot accept the request: its Host header is malformed", [], {
        code: "invalid_host",
      });
    }
    if (this.#allowed !== "*" && !this.#allowed.has(name)) {
      throw new RequestError(
        `Cannot accept the request: the host "${name}" is not one that this server answers for, ` +
          "add it to the hosts option",
        [],
        { code: "host_not_allowed", status: 403 },
      );
    }
  }
}

/**
 * Refuses what a page of another site sends by itself: browsers mark it, other clients do not send
 * the mark.
 *
 * @throws RequestError with status 403
 */
export function refuseCrossSite(request: Request): void {
  if (request.headers.get("sec-fetch-site") !== "cross-site") return;
  throw new RequestError("Cannot accept the request: it comes from a page of another site", [], {
    code: "cross_site",
    status: 403,
  });
}

/**
 * Whom a stream belongs to: a hash of the client's key, so that no key is kept; "" without one.
 *
 * A stream of one owner is unknown to all others.
 */
export async function ownerOf(request: Request): Promise<string> {
  const key = request.headers.get("x-api-key") ?? request.headers.get("authorization");
  if (key === null) return "";
  const secret = key.replace(/^bearer\s+/i, "");
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret));
  return Array.from(new Uint8Array(hash, 0, 16), (byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
