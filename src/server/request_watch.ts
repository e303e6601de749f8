/**
 * RequestWatch: one request from its first line to the last byte of its answer, for whoever
 * measures it.
 *
 * @module
 */
import { endingOf, type Outcome } from "./ending.ts";
import { type RequestRecord, shortId } from "./log.ts";
import type { RequestSpan } from "./tracing.ts";

/** A request that fits no route. */
export const UNMATCHED = "unmatched";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/** Any other method; a client may send what it likes, and a label must not hold it. */
const OTHER_METHOD = "_OTHER";
/** Ids of clients that are taken over: UUIDs, hashes, and what proxies make. */
const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/;

/** The client's id for its request where that is well-formed, else a new one. */
function requestIdOf({ headers }: Request): string {
  const id = headers.get("x-request-id");
  return id !== null && REQUEST_ID.test(id) ? id : crypto.randomUUID();
}

/** The method as labels and records show it. */
export function methodOf({ method }: Pick<Request, "method">): string {
  return METHODS.includes(method) ? method : OTHER_METHOD;
}

/** A duration as Server-Timing writes it. */
export function timing(name: string, ms: number): string {
  return `${name};dur=${Math.max(0, ms).toFixed(1)}`;
}

/** One request; see the module. */
export class RequestWatch {
  /** Told to the client, and in every record of the request. */
  readonly id: string;
  /** Pattern of the route, once it is known. */
  route: string = UNMATCHED;
  readonly #method: string;
  readonly #begunAt = performance.now();
  readonly #timings: string[] = [];
  readonly #onEnd: (record: RequestRecord) => void;
  /** Undefined where nobody traces. */
  readonly span: RequestSpan | undefined;
  #lapAt: number = this.#begunAt;

  /** @param onEnd told once, when the request is over */
  constructor(
    request: Request,
    span: RequestSpan | undefined,
    onEnd: (record: RequestRecord) => void,
  ) {
    this.id = requestIdOf(request);
    this.#method = methodOf(request);
    this.span = span;
    this.#onEnd = onEnd;
  }

  /** A step is done that began where the one before ended; the client is told how long it took. */
  lap(name: string): void {
    const now = performance.now();
    this.#timings.push(timing(name, now - this.#lapAt));
    this.#lapAt = now;
  }

  /** The head of the answer is made; the request is over when its body is. */
  answered(response: Response): Response {
    const { headers, status } = response;
    this.#timings.push(timing("total", performance.now() - this.#begunAt));
    headers.set("x-request-id", this.id);
    headers.append("server-timing", this.#timings.join(", "));
    const ending = endingOf(response);
    const id = headers.get("x-stream-id");
    const stream = id === null ? {} : { stream: shortId(id) };
    if (ending === undefined || response.body === null) this.end(status, stream);
    else {
      ending.whenOver((outcome: Outcome) => {
        this.end(status, { ...stream, bytes: ending.bytes, outcome });
      });
    }
    return response;
  }

  /** The request is over. */
  end(
    status: number,
    more: Pick<RequestRecord, "bytes" | "outcome" | "stream"> = {},
  ): void {
    const ms = performance.now() - this.#begunAt;
    this.#onEnd({
      requestId: this.id,
      method: this.#method,
      route: this.route,
      status,
      ms: Math.round(ms * 10) / 10,
      ...more,
    });
  }
}
