/**
 * Access: who is let in, for what, and how much of it; asked before a body is read.
 *
 * @module
 */
import type { Generator } from "../engine/generator.ts";
import { RequestError } from "../errors.ts";
import { readJsonObject } from "./body.ts";
import { Cors } from "./cors.ts";
import { HostGate, refuseCrossSite, secretOf, visitOf } from "./gate.ts";
import { json } from "./json_response.ts";
import { type ApiKey, KEY_PATTERN, KeyRing, type KnownKey, ownerOfSecret } from "./keys.ts";
import type { Scope } from "./keys.ts";
import { Quota } from "./quota.ts";
import { TICKET_SECONDS, Tickets } from "./tickets.ts";

/** Who is let in; every field has a default. */
export interface AccessOptions {
  /**
   * Host names that are answered beside localhost, 127.0.0.1 and [::1], without port; `"*"` is
   * every well-formed one. Default none.
   */
  hosts?: readonly string[] | "*";
  /** Keys that are let in, and nobody else; health is told to everyone. Default everybody. */
  keys?: readonly ApiKey[];
  /**
   * Origins whose pages may use the server from a browser, such as `https://chat.example`; `"*"`
   * is every one. Default none.
   */
  corsOrigins?: readonly string[] | "*";
  /**
   * Signs tickets; servers that take each other's tickets have the same. At least 32 characters
   * that nobody can guess. Default drawn at each start.
   */
  ticketSecret?: string;
}

/** What a route asks of its client: a scope, any key, or nothing. */
export type Demand = Scope | "any" | "public";

/** Where it is not what the method says. */
const DEMANDS: readonly (readonly [RegExp, Demand])[] = [
  [/^\/health(\/|$)/, "public"],
  [/^\/metrics$/, "metrics"],
  [/^\/v1\/models\/(pull|download)(\/|$)/, "pull"],
];

/** Names by which clients put a key into a URL. */
const KEY_NAMES = ["key", "api_key", "api-key", "apikey", "x-api-key", "access_token"];

/** What a route asks where it does not say: to look is `read`, all else is `generate`. */
export function demandOf(method: string, path: string): Demand {
  const row = DEMANDS.find(([pattern]) => pattern.test(path));
  return row?.[1] ?? (method === "GET" ? "read" : "generate");
}

function unauthorized(wrong: string, code: string): RequestError {
  return new RequestError(
    `Cannot accept the request: ${wrong}, send the header Authorization: Bearer KEY`,
    [],
    { code, status: 401 },
  );
}

/** See the module. */
export class Access {
  readonly #hosts: HostGate;
  readonly #cors: Cors;
  readonly #keys: KeyRing | undefined;
  readonly #tickets: Tickets;
  readonly #quotas = new Map<string, Quota>();

  /** @throws SluiceError where an option is malformed */
  constructor({ hosts, keys, corsOrigins, ticketSecret }: AccessOptions) {
    this.#hosts = new HostGate(hosts);
    this.#cors = new Cors(corsOrigins);
    this.#keys = keys && new KeyRing(keys);
    this.#tickets = new Tickets(ticketSecret);
    for (const key of keys ?? []) {
      const isLimited = (key.requestsPerMinute ?? key.tokensPerMinute) !== undefined;
      if (isLimited) this.#quotas.set(key.hash.slice(0, 32), new Quota(key));
    }
  }

  /**
   * Checks what does not depend on the route, before anything else is looked at.
   *
   * @returns the answer to a preflight of an allowed origin, else undefined
   * @throws RequestError with status 400 or 403
   */
  begin(request: Request): Response | undefined {
    this.#hosts.check(request);
    visitOf(request).isTrusted = this.#cors.allows(request);
    // Only now: a malformed host makes the URL of the request unreadable.
    const { searchParams } = new URL(request.url);
    const hasKey = KEY_PATTERN.test(request.url) ||
      (this.#keys !== undefined && KEY_NAMES.some((name) => searchParams.has(name)));
    if (hasKey) {
      throw new RequestError(
        "Cannot accept the request: there is an API key in its URL, which ends up in logs and " +
          "histories; send the header Authorization: Bearer KEY, or a ticket of POST /v1/tickets",
        [],
        { code: "key_in_url" },
      );
    }
    return this.#cors.preflight(request);
  }

  /**
   * Finds out who asks, and sees that they may.
   *
   * @throws RequestError with status 401 where nobody knows them, 403 where their key has no such
   * scope
   */
  async enter(request: Request, demand: Demand): Promise<void> {
    if (demand === "public") return;
    const owner = await this.#ownerOf(request);
    const key = this.#keys?.byOwner(owner);
    if (key !== undefined && demand !== "any" && !key.scopes.includes(demand)) {
      throw new RequestError(
        `Cannot accept the request: its API key has no scope "${demand}"`,
        [],
        { code: "insufficient_scope", status: 403 },
      );
    }
    visitOf(request).owner = owner;
  }

  async #ownerOf(request: Request): Promise<string> {
    const secret = secretOf(request);
    if (secret !== undefined) return await this.#ownerOfSecret(secret);
    const { pathname, searchParams } = new URL(request.url);
    const isLook = request.method === "GET" || request.method === "HEAD";
    const ticket = isLook ? searchParams.get("ticket") : null;
    if (ticket !== null) {
      const owner = await this.#tickets.owner(ticket, pathname);
      const isKnown = owner !== undefined && (this.#keys?.byOwner(owner) ?? !this.#keys);
      if (isKnown) return owner;
      throw unauthorized("its ticket is too old, or of another path", "invalid_ticket");
    }
    if (this.#keys === undefined) return "";
    throw unauthorized("it has no API key", "missing_api_key");
  }

  async #ownerOfSecret(secret: string): Promise<string> {
    if (this.#keys === undefined) return await ownerOfSecret(secret);
    const key: KnownKey | undefined = await this.#keys.find(secret);
    if (key !== undefined) return key.owner;
    throw unauthorized("its API key is not known to this server", "invalid_api_key");
  }

  /** The generator as an owner may use it: one generation is taken, and its tokens are counted. */
  take(owner: string, generator: Generator): Generator {
    const quota = this.#quotas.get(owner);
    quota?.take();
    return quota?.metered(generator) ?? generator;
  }

  /** `POST /v1/tickets`, of a client that was let in. */
  async ticket(request: Request, bodyBytesMax: number): Promise<Response> {
    refuseCrossSite(request);
    const { path, expires_in: seconds = TICKET_SECONDS.default } = await readJsonObject(
      request,
      bodyBytesMax,
    );
    const { min, max } = TICKET_SECONDS;
    const wrong: [field: string, expected: string][] = [];
    if (typeof path !== "string" || URL.parse(path, "http://localhost")?.pathname !== path) {
      wrong.push(["path", "expected the path of one route, such as /v1/stream, without a query"]);
    }
    if (!Number.isInteger(seconds) || Number(seconds) < min || Number(seconds) > max) {
      wrong.push(["expires_in", `expected whole seconds from ${min} to ${max}`]);
    }
    if (wrong.length > 0) {
      const list = wrong.map(([field, expected]) => `${field}: ${expected}`).join("; ");
      const fields = wrong.map(([field, message]) => ({ field, message }));
      throw new RequestError(`Cannot make the ticket: ${list}`, fields);
    }
    const { owner = "" } = visitOf(request);
    const ticket = await this.#tickets.issue(owner, String(path), Number(seconds));
    return json({ ticket, expires_in: seconds }, 200);
  }

  /** Puts on what a browser, and a client with a quota, are told beside the answer itself. */
  finish(request: Request, response: Response): Response {
    const { headers, status } = response;
    this.#cors.mark(request, response);
    if (status === 401) headers.set("www-authenticate", "Bearer");
    const { owner } = visitOf(request);
    const quota = owner === undefined ? undefined : this.#quotas.get(owner);
    for (const [name, value] of Object.entries(quota?.headers ?? {})) headers.set(name, value);
    return response;
  }
}
