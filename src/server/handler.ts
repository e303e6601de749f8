/**
 * createHandler: a Generator as a function from Request to Response, on Web standards only.
 *
 * Here are the order of the checks, the route table, the error mapping and the graceful end. Wire
 * languages are in `dialects/`, what a server needs to be told is in `adapters/`. Everything that
 * can fail with a status code fails before the Response is made.
 *
 * @module
 */
import type { Generator } from "../engine/generator.ts";
import { OverloadedError, RequestError, SluiceError } from "../errors.ts";
import { readJsonObject } from "./body.ts";
import type { Dialect, Exchange, GenerateRoute, ModelRoute } from "./dialect.ts";
import { native } from "./dialects/native.ts";
import { openai } from "./dialects/openai.ts";
import { eventStream, STREAM_HEADERS } from "./event_stream.ts";
import { HostGate, refuseCrossSite } from "./gate.ts";
import { type PublicError, publicError } from "./public_error.ts";
import { Router } from "./router.ts";
import { Run } from "./run.ts";
import { wholeBody } from "./whole_body.ts";

/** How a handler behaves; every field has a default. */
export interface HandlerOptions {
  /**
   * Host names that are answered beside localhost, 127.0.0.1 and [::1], without port; `"*"` is
   * every well-formed one. Default none.
   */
  hosts?: readonly string[] | "*";
  /** Largest request body. Default 1 MiB. */
  bodyBytesMax?: number;
  /**
   * A ping after so many milliseconds of silence, a comment in a stream and a space before JSON; 0
   * is never. Default 5000: servers take a silence of ten seconds for a dead connection.
   */
  keepAliveMs?: number;
  /**
   * Most tokens that any request may ask for, and what one without `max_tokens` gets. Default no
   * cap.
   */
  maxTokens?: number;
  /** Told of every failure that a client gets only a sentence about. Default `console.error`. */
  onError?: (failure: unknown) => void;
}

/** A fetch handler that can be brought to a graceful end. */
export interface Handler {
  /** Answers one request; never throws. */
  (request: Request): Promise<Response>;
  /**
   * Refuses new generations, lets the running ones end for `graceMs`, then cancels them; their
   * streams still get their terminal event. Resolves when none runs; a reader that does not read is
   * given up after a second.
   */
  drain(graceMs?: number): Promise<void>;
}

type Serve = (request: Request, rest: string) => Promise<Response> | Response;
type ErrorBody = (error: PublicError) => unknown;

/** A path: what each method does there, and how it says that it cannot. */
interface Endpoint {
  readonly methods: Map<string, Serve>;
  readonly errorBody: ErrorBody;
}

const DIALECTS: readonly Dialect[] = [openai, native];
/** Seconds after which a client of a loading or ending server may ask again. */
const RETRY_AFTER_S = 1;
/** How long a cancelled generation may take to end before a drain stops waiting for it. */
const CANCEL_MS = 1000;
/** Largest value of an option; a timer that is set to more fires at once. */
const OPTION_MAX = 2 ** 31 - 1;

const JSON_HEADERS = { "content-type": "application/json", "cache-control": "no-store" };

function json(body: unknown, status: number, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { ...JSON_HEADERS, ...headers },
  });
}

function refusal(error: PublicError, errorBody: ErrorBody): Response {
  const { retryAfterS } = error;
  const headers: Record<string, string> = retryAfterS === undefined
    ? {}
    : { "retry-after": String(Math.max(1, Math.ceil(retryAfterS))) };
  return json(errorBody(error), error.status, headers);
}

function allowOf(methods: ReadonlyMap<string, Serve>): string {
  const names = [...methods.keys()];
  if (methods.has("GET")) names.push("HEAD");
  return [...names, "OPTIONS"].join(", ");
}

/**
 * The body as its client gets it. In process no socket tells that the client has gone, but the
 * signal of its request does: what waits for the body is rejected, as by a fetch, and the source is
 * cancelled. On a socket that signal is left alone: Deno aborts it at every end, and misses
 * disconnects of requests with a body.
 */
function bodyFor(request: Request, body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  if (request.headers.has("host")) return body;
  return body.pipeThrough(new TransformStream(), { signal: request.signal });
}

function checkOption(name: string, value: number, min: number): number {
  if (Number.isInteger(value) && value >= min && value <= OPTION_MAX) return value;
  throw new SluiceError(
    `Cannot make the handler: ${name} is ${value}, expected an integer from ${min} to ${OPTION_MAX}`,
    "invalid_option",
    500,
  );
}

/** The state behind one handler. */
class Service {
  readonly #options: Required<Omit<HandlerOptions, "hosts">>;
  readonly #gate: HostGate;
  readonly #router = new Router<Endpoint>();
  readonly #runs = new Set<Run>();
  #generator: Generator | undefined;
  #loadFailure: { readonly thrown: unknown } | undefined;
  #isDraining = false;

  constructor(generator: Generator | Promise<Generator>, options: HandlerOptions) {
    this.#gate = new HostGate(options.hosts);
    this.#options = {
      bodyBytesMax: checkOption("bodyBytesMax", options.bodyBytesMax ?? 1 << 20, 1),
      keepAliveMs: checkOption("keepAliveMs", Math.round(options.keepAliveMs ?? 5000), 0),
      maxTokens: checkOption("maxTokens", options.maxTokens ?? OPTION_MAX, 1),
      // deno-lint-ignore no-console -- a server that hides why it failed cannot be run
      onError: options.onError ?? ((failure) => console.error(failure)),
    };
    this.#watch(generator);
    this.#addRoutes();
  }

  #watch(generator: Generator | Promise<Generator>): void {
    if (!(generator instanceof Promise)) {
      this.#generator = generator;
      return;
    }
    generator.then(
      (loaded) => this.#generator = loaded,
      (thrown) => {
        this.#loadFailure = { thrown };
        this.#options.onError(thrown);
      },
    );
  }

  #addRoutes(): void {
    for (const dialect of DIALECTS) {
      const { errorBody } = dialect;
      for (const route of dialect.generates) {
        this.#add(
          "POST",
          route.path,
          errorBody,
          (request) => this.#generate(route, request),
        );
      }
      for (const route of dialect.describes) {
        this.#add("GET", route.path, errorBody, (_request, rest) => this.#describe(route, rest));
      }
    }
    this.#add("GET", "/health", openai.errorBody, () => this.#health());
    this.#add("GET", "/health/ready", openai.errorBody, () => this.#health());
    this.#add("GET", "/health/live", openai.errorBody, () => json({ status: "ok" }, 200));
  }

  #add(method: string, path: string, errorBody: ErrorBody, serve: Serve): void {
    this.#router.at(path, () => ({ methods: new Map(), errorBody })).methods.set(method, serve);
  }

  async handle(request: Request): Promise<Response> {
    let errorBody: ErrorBody = openai.errorBody;
    try {
      this.#gate.check(request);
      // Only now: a malformed host makes the URL of the request unreadable.
      const { pathname } = new URL(request.url);
      const match = this.#router.match(pathname);
      if (match === undefined) {
        throw new RequestError(
          `Cannot find "${pathname.slice(0, 100)}": this server has no such route`,
          [],
          { code: "not_found", status: 404 },
        );
      }
      errorBody = match.target.errorBody;
      return await this.#dispatch(match.target, request, match.rest);
    } catch (thrown) {
      return this.#refuse(thrown, errorBody);
    }
  }

  async #dispatch(
    { methods, errorBody }: Endpoint,
    request: Request,
    rest: string,
  ): Promise<Response> {
    const { method } = request;
    const serve = methods.get(method === "HEAD" ? "GET" : method);
    if (serve !== undefined) {
      const response = await serve(request, rest);
      return method === "HEAD" ? new Response(null, response) : response;
    }
    const allow = allowOf(methods);
    if (method === "OPTIONS") return new Response(null, { status: 204, headers: { allow } });
    const response = this.#refuse(
      new RequestError(`Cannot use the method ${method} here: expected ${allow}`, [], {
        code: "method_not_allowed",
        status: 405,
      }),
      errorBody,
    );
    response.headers.set("allow", allow);
    return response;
  }

  #refuse(thrown: unknown, errorBody: ErrorBody): Response {
    const error = publicError(thrown);
    // A failed load was told when it failed.
    const isNews = error.status >= 500 && thrown !== this.#loadFailure?.thrown;
    if (isNews) this.#options.onError(thrown);
    return refusal(error, errorBody);
  }

  /** The generator, if it is there and takes requests. */
  #ready(): Generator {
    if (this.#loadFailure !== undefined) throw this.#loadFailure.thrown;
    // 429 and not 503, which some clients answer with retries without end or pause.
    if (this.#isDraining) {
      throw new OverloadedError(
        "Cannot start the generation: the server is stopping",
        RETRY_AFTER_S,
      );
    }
    if (this.#generator === undefined) {
      throw new OverloadedError(
        "Cannot start the generation: the model is still loading, try again in a moment",
        RETRY_AFTER_S,
      );
    }
    return this.#generator;
  }

  #describe(route: ModelRoute, rest: string): Response {
    return json(route.describe(this.#ready().model, rest), 200);
  }

  #health(): Response {
    if (this.#loadFailure !== undefined) return json({ status: "failed" }, 503);
    if (this.#isDraining) return json({ status: "stopping" }, 503);
    if (this.#generator === undefined) return json({ status: "loading" }, 503);
    return json({ status: "ok", model: this.#generator.model.id }, 200);
  }

  async #generate(route: GenerateRoute, request: Request): Promise<Response> {
    refuseCrossSite(request);
    const body = await readJsonObject(request, this.#options.bodyBytesMax);
    const generator = this.#ready();
    const exchange = route.accept(body, {
      model: generator.model,
      id: crypto.randomUUID().replaceAll("-", ""),
      created: Math.floor(Date.now() / 1000),
    });
    try {
      return await this.#answer(generator, exchange, request);
    } catch (thrown) {
      return this.#refuse(thrown, exchange.errorBody);
    }
  }

  async #answer(generator: Generator, exchange: Exchange, request: Request): Promise<Response> {
    const { onError, keepAliveMs, maxTokens } = this.#options;
    const isCapped = maxTokens < (exchange.request.maxTokens ?? OPTION_MAX);
    const run = await Run.begin(
      generator,
      isCapped ? { ...exchange.request, maxTokens } : exchange.request,
      onError,
    );
    if (this.#isDraining) {
      await run.cancel();
      this.#ready();
    }
    this.#runs.add(run);
    void run.over.then(() => this.#runs.delete(run));
    const body = exchange.stream
      ? eventStream(run, exchange.encoder(), keepAliveMs, onError)
      : wholeBody(run, (completion) => exchange.answer(completion), keepAliveMs);
    return new Response(bodyFor(request, body), {
      headers: exchange.stream ? STREAM_HEADERS : JSON_HEADERS,
    });
  }

  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true;
    await this.#settled(graceMs);
    for (const run of this.#runs) run.stop();
    await this.#settled(CANCEL_MS);
    // Their readers do not read. What they hold is wanted back all the same.
    await Promise.all([...this.#runs].map((run) => run.cancel()));
  }

  /** Waits until no generation runs, at most so long. */
  async #settled(withinMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.min(withinMs, OPTION_MAX));
    });
    await Promise.race([Promise.all([...this.#runs].map((run) => run.over)), late]);
    clearTimeout(timer);
  }
}

/**
 * Makes the fetch handler of a generator.
 *
 * A promise of a generator is fine: until it settles, health says loading and requests to generate
 * get 429.
 *
 * @example
 * ```ts ignore
 * export default { fetch: createHandler(await load("smollm2")) };
 * ```
 */
export function createHandler(
  generator: Generator | Promise<Generator>,
  options: HandlerOptions = {},
): Handler {
  const service = new Service(generator, options);
  return Object.assign(
    (request: Request) => service.handle(request),
    { drain: (graceMs = 0) => service.drain(graceMs) },
  );
}
