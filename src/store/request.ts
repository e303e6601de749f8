/**
 * GET over HTTP for downloads: only from hosts that are allowed, never from a private address, with
 * every redirect checked like the first request.
 *
 * A name is resolved here, its addresses are checked, and the connection goes to one of these: what
 * the name means a moment later does not matter.
 *
 * @module
 */
import type { LookupAddress } from "node:dns";
import { type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { isPublicAddress } from "./address.ts";
import { DownloadError } from "./download_error.ts";

/** Most redirects that are followed. */
const REDIRECTS_MAX = 5;
/** Failures of a connection after which the next one may do. */
const PASSING: ReadonlySet<unknown> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EPIPE",
  "ETIMEDOUT",
]);

/** Whom a download may talk to. */
export interface Access {
  /** Origins that the user named: any scheme, any address. */
  readonly named: ReadonlySet<string>;
  /** Other hosts, over https and at public addresses: a name, or `.name` for all below it. */
  readonly hosts: readonly string[];
  /** Sent to this origin and to no other. */
  readonly token?: { readonly origin: string; readonly value: string } | undefined;
  /** All addresses of a name. */
  readonly lookup: (name: string) => Promise<LookupAddress[]>;
  /** Milliseconds without a byte after which a connection is given up. */
  readonly idleMs: number;
}

/** What came back; the body must be read to its end or closed. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The headers of the first host, before any redirect. */
  readonly firstHeaders: IncomingHttpHeaders;
  /** The body; breaks off with a DownloadError. */
  readonly body: AsyncGenerator<Uint8Array, void, undefined>;
  /** Ends the connection. */
  close(): void;
}

/**
 * Sends a GET and follows redirects.
 *
 * @param purpose what fails when it fails: `download "hf:owner/repo"`
 * @throws {DownloadError} for a host, a redirect or an address that is not allowed, and, with
 * `retryAfterMs`, for a connection that does not come about
 */
export async function get(
  purpose: string,
  url: URL,
  access: Access,
  signal: AbortSignal,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  let firstHeaders: IncomingHttpHeaders | undefined;
  let at = url;
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
    checkHost(purpose, at, access, redirects > 0);
    const answer = await send(purpose, at, access, signal, headers);
    firstHeaders ??= answer.headers;
    const { location } = answer.headers;
    const isRedirect = [301, 302, 303, 307, 308].includes(answer.status);
    if (!isRedirect || location === undefined) return { ...answer, firstHeaders };
    answer.close();
    const next = URL.parse(location, at);
    if (next === null) {
      throw new DownloadError(`Cannot ${purpose}: ${at.host} redirects to a malformed address`);
    }
    at = next;
  }
  throw new DownloadError(
    `Cannot ${purpose}: ${url.host} redirects more than ${REDIRECTS_MAX} times`,
  );
}

function checkHost(purpose: string, url: URL, access: Access, isRedirect: boolean): void {
  if (access.named.has(url.origin)) return;
  const how = isRedirect ? "it is redirected to" : "it would come from";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0 && !isPublicAddress(host)) throw privateAddress(purpose, how, url.host);
  const isAllowed = access.hosts.some((name) =>
    name.startsWith(".") ? host.endsWith(name) : host === name
  );
  if (!isAllowed) {
    throw new DownloadError(
      `Cannot ${purpose}: ${how} ${url.host}, which is not a host of the hub; where you trust it, ` +
        "add its origin to SLUICE_HUB_ORIGINS",
    );
  }
  if (url.protocol === "https:" && url.port === "" && url.username === "") return;
  throw new DownloadError(`Cannot ${purpose}: ${how} ${url.host} other than by plain https`);
}

function privateAddress(purpose: string, how: string, what: string): DownloadError {
  return new DownloadError(
    `Cannot ${purpose}: ${how} ${what}, a private address; if that is your own mirror, name it in ` +
      "HF_ENDPOINT or SLUICE_HUB_ORIGINS",
  );
}

/** Resolves a name for a connection, and refuses it where one of its addresses is private. */
function checkedLookup(purpose: string, url: URL, access: Access): LookupFunction {
  const resolve = async (name: string): Promise<LookupAddress[]> => {
    const addresses = await access.lookup(name);
    const hidden = addresses.find(({ address }) => !isPublicAddress(address));
    if (hidden === undefined || access.named.has(url.origin)) return addresses;
    throw privateAddress(purpose, "it would come from", `${name} at ${hidden.address}`);
  };
  return (name, { all }, callback) => {
    resolve(name).then((addresses) => {
      const [first] = addresses;
      if (first === undefined) throw new Error(`${name} has no address`);
      if (all) callback(null, addresses);
      else callback(null, first.address, first.family);
    }).catch((error: Error) => callback(error, ""));
  };
}

function send(
  purpose: string,
  url: URL,
  access: Access,
  signal: AbortSignal,
  headers: Readonly<Record<string, string>>,
): Promise<Omit<Answer, "firstHeaders">> {
  const { token } = access;
  const failed = (cause: unknown): unknown => {
    if (signal.aborted) return signal.reason;
    if (cause instanceof DownloadError) return cause;
    const { code, message } = cause as { code?: string; message?: string };
    return new DownloadError(
      `Cannot ${purpose}: the connection to ${url.host} fails (${
        code ?? message
      }), check the network`,
      { cause, ...(PASSING.has(code) && { retryAfterMs: 0 }) },
    );
  };
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const request = (url.protocol === "https:" ? httpsRequest : httpRequest)(url, {
      // A connection that was kept could lead to another address than the one checked.
      agent: false,
      lookup: checkedLookup(purpose, url, access),
      headers: {
        "accept-encoding": "identity",
        "user-agent": "sluice",
        ...headers,
        ...(token?.origin === url.origin && { authorization: `Bearer ${token.value}` }),
      },
    });
    const stop = (): void => void request.destroy(new Error("aborted"));
    const watch = new Watch(access.idleMs, () => request.destroy(silent(purpose, url, access)));
    const release = (): void => {
      watch.stop();
      signal.removeEventListener("abort", stop);
    };
    const close = (): void => {
      release();
      request.destroy();
    };
    signal.addEventListener("abort", stop, { once: true });
    watch.start();
    request.on("error", (cause) => {
      release();
      reject(failed(watch.isFired ? silent(purpose, url, access) : cause));
    });
    request.on("response", (response) => {
      watch.stop();
      const fail = (cause: unknown): unknown =>
        failed(watch.isFired ? silent(purpose, url, access) : cause);
      const body = readBody(response, watch, fail, close);
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body, close });
    });
    request.end();
  });
}

function silent(purpose: string, url: URL, access: Access): DownloadError {
  const seconds = Math.round(access.idleMs / 1000);
  return new DownloadError(`Cannot ${purpose}: ${url.host} sent nothing for ${seconds} s`, {
    retryAfterMs: 0,
  });
}

/** The pieces of a body; only the time that it is waited for counts as silence. */
async function* readBody(
  response: IncomingMessage,
  watch: Watch,
  fail: (cause: unknown) => unknown,
  close: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const pieces = (response as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  try {
    for (;;) {
      watch.start();
      const { done, value } = await pieces.next();
      watch.stop();
      if (done) break;
      yield value;
    }
    if (!response.complete) throw Object.assign(new Error("it was cut"), { code: "ECONNRESET" });
  } catch (cause) {
    throw fail(cause);
  } finally {
    close();
  }
}

/** A timer that runs only while something is waited for. */
class Watch {
  readonly #ms: number;
  readonly #onSilence: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether it was silent for too long, ever. */
  isFired = false;

  constructor(ms: number, onSilence: () => void) {
    this.#ms = ms;
    this.#onSilence = onSilence;
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.isFired = true;
      this.#onSilence();
    }, this.#ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
