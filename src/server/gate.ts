/**
 * What is checked before anything else is looked at: which host the client asked for, and who sent
 * it here.
 *
 * A browser page of another site can reach a local server by its address (cross-site request) or
 * under the page's own name (DNS rebinding); both stop here. What a client may do once it is let in
 * is told by `access.ts`.
 *
 * @module
 */
import { RequestError } from "../errors.ts";
import { ownerOfSecret } from "./keys.ts";
import type { RequestWatch } from "./request_watch.ts";

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
    // A request made in process has no Host header but a whole URL; one of HTTP/1.0 has neither.
    const url = URL.parse(request.url);
    const host = (request.headers.get("host") ?? url?.host ?? "").toLowerCase();
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

/** What was found out about a request on its way in. */
export interface Visit {
  /** Whose streams it may see. */
  owner?: string;
  /** It comes from a page of an origin that was allowed by name. */
  isTrusted?: boolean;
  /** It came over a connection, also where it has no Host header, as in HTTP/2. */
  isRemote?: boolean;
  /** Who measures it. */
  watch?: RequestWatch;
}

const visits = new WeakMap<Request, Visit>();

/** What is known about a request. */
export function visitOf(request: Request): Visit {
  const visit = visits.get(request) ?? {};
  visits.set(request, visit);
  return visit;
}

/** Whether a page of the host itself sent the request, going by its Origin header. */
export function isSameOrigin({ headers, url }: Request): boolean {
  const origin = headers.get("origin");
  const host = (headers.get("host") ?? new URL(url).host).toLowerCase();
  return origin !== null && URL.canParse(origin) && new URL(origin).host === host;
}

/**
 * Refuses what a page of another site sends by itself: browsers mark it, other clients do not send
 * the mark. To an address without TLS that is not this machine browsers send no mark but Origin.
 *
 * @throws RequestError with status 403
 */
export function refuseCrossSite(request: Request): void {
  if (visitOf(request).isTrusted) return;
  const site = request.headers.get("sec-fetch-site");
  const isForeign = site === null
    ? request.headers.has("origin") && !isSameOrigin(request)
    : site === "cross-site";
  if (!isForeign) return;
  throw new RequestError("Cannot accept the request: it comes from a page of another site", [], {
    code: "cross_site",
    status: 403,
  });
}

/** The key that a client sends in a header; undefined without one. */
export function secretOf({ headers }: Request): string | undefined {
  const key = headers.get("x-api-key") ?? headers.get("authorization");
  return key === null ? undefined : key.replace(/^bearer\s+/i, "");
}

/**
 * Whom a stream belongs to: a hash of the client's key, so that no key is kept; "" without one.
 *
 * A stream of one owner is unknown to all others.
 */
export async function ownerOf(request: Request): Promise<string> {
  const { owner } = visitOf(request);
  if (owner !== undefined) return owner;
  const secret = secretOf(request);
  return secret === undefined ? "" : await ownerOfSecret(secret);
}
