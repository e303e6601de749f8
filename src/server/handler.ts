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
import { Access, type AccessOptions, type Demand, demandOf } from "./access.ts";
import { readJsonObject } from "./body.ts";
import type { JsonObject } from "./fields.ts";
import type { StreamingConfig } from "../stream/config.ts";
import type { StreamStore } from "../stream/store.ts";
import type { StreamCounts, StreamLimits } from "../stream/streams.ts";
import { readControl } from "./control.ts";
import type { AnswerContext, ModelRoute, Speech } from "./dialect.ts";
import { native } from "./dialects/native.ts";
import { openai } from "./dialects/openai.ts";
import { DownloadRoutes, type Downloads } from "./downloads.ts";
import { endingOf, withEnding } from "./ending.ts";
import { STREAM_HEADERS } from "./event_stream.ts";
import { framingOf } from "./framing.ts";
import { ownerOf, refuseCrossSite, visitOf } from "./gate.ts";
import { checkHandshake, wantsSocket } from "./handshake.ts";
import { type ErrorBody, json, refusal } from "./json_response.ts";
import { type PublicError, publicError } from "./public_error.ts";
import { checkAccept, mannerOf } from "./query.ts";
import { Router } from "./router.ts";
import { DIALECTS, Routes } from "./routes.ts";
import {
  type Accepted,
  type Socket,
  SOCKET_DEFAULTS,
  type SocketLimits,
  type SocketListener,
  SocketSession,
} from "./socket.ts";
import { type Ask, cursorOf, idempotencyKeyOf, Streaming, withSeed } from "./streaming.ts";

/** How a handler behaves; every field has a default. */
export interface HandlerOptions extends AccessOptions {
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
  /**
   * Paths that generate beside those of the dialects, or instead of them, each with the name of
   * what it speaks: `native`, `openai` (chat completions), `openai_completions`, `content`,
   * `chat_stream` and others; a wrong name is answered with the whole list. Default none.
   */
  routes?: Readonly<Record<string, string>>;
  /** How events are grouped into chunks of bytes. Default one event each, at once. */
  streaming?: StreamingConfig;
  /** Limits of streams: readers, memory, age, silence; every one has a default. */
  streams?: StreamLimits;
  /** Limits of one WebSocket: message, idle time, streams, send queue; each has a default. */
  sockets?: SocketLimits;
  /** Where streams outlive this process. Default nowhere. */
  store?: StreamStore;
  /** Where models come from, for the routes that pull them. Default there are no such routes. */
  downloads?: Downloads;
  /** Told of every failure that a client gets only a sentence about. Default `console.error`. */
  onError?: (failure: unknown) => void;
}

/** Begins the session of a socket that an adapter has opened. */
export type OpenSocket = (socket: Socket) => SocketListener;

/** A fetch handler that can be brought to a graceful end. */
export interface Handler {
  /** Answers one request; never throws. */
  (request: Request): Promise<Response>;
  /**
   * Refuses new generations and lets the running ones end for `graceMs`. Then those in a store are
   * left to the next process, their readers told when to come back, and the others are cancelled,
   * with their terminal event. Resolves when none runs.
   */
  drain(graceMs?: number): Promise<void>;
  /**
   * Checks a request for a WebSocket, for adapters that can open one: what begins its session, or a
   * refusal, or undefined where it is no such request. Never throws.
   */
  upgrade?(request: Request): Promise<OpenSocket | Response | undefined>;
  /** How many streams and readers there are, and which limits were met how often. */
  readonly streams: StreamCounts;
}

type Serve = (request: Request, rest: string) => Promise<Response> | Response;
/** A path and what it speaks. */
type Spoken = Pick<Ask, "path" | "dialect">;

/** A path: what each method does there, and how it says that it cannot. */
interface Endpoint {
  readonly methods: Map<string, { readonly serve: Serve; readonly demand: Demand }>;
  readonly errorBody: ErrorBody;
}

/** One stream, whoever made it. */
const STREAM_PATH = "/v1/streams/*";
/** The route that has a WebSocket twin, which speaks native whatever its path is bound to. */
const SOCKET_PATH = "/v1/stream";
const SOCKET_DIALECT = "native";
/** Seconds after which a client of a loading or ending server may ask again. */
const RETRY_AFTER_S = 1;
/** Largest value of an option; a timer that is set to more fires at once. */
const OPTION_MAX = 2 ** 31 - 1;

function allowOf(methods: ReadonlyMap<string, unknown>): string {
  const names = [...methods.keys()];
  if (methods.has("GET")) names.push("HEAD");
  return [...names, "OPTIONS"].join(", ");
}

/**
 * The response as its client gets it. In process no socket tells that the client has gone, but the
 * signal of its request does: what waits for the body is rejected, as by a fetch, and the source is
 * cancelled. On a socket that signal is left alone: Deno aborts it at every end, and misses
 * disconnects of requests with a body.
 */
function tied(request: Request, response: Response): Response {
  const isRemote = request.headers.has("host") || visitOf(request).isRemote;
  if (isRemote || response.body === null) return response;
  const body = response.body.pipeThrough(new TransformStream(), { signal: request.signal });
  return withEnding(new Response(body, response), endingOf(response));
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
  readonly #options: Required<Pick<HandlerOptions, "bodyBytesMax" | "keepAliveMs" | "onError">>;
  readonly #streaming: Streaming;
  readonly #routes: Routes;
  readonly #access: Access;
  readonly #router = new Router<Endpoint>();
  readonly #socketLimits: Required<SocketLimits>;
  readonly #sessions = new Set<SocketSession>();
  readonly #downloads: DownloadRoutes | undefined;
  #generator: Generator | undefined;
  #loadFailure: { readonly thrown: unknown } | undefined;
  #isDraining = false;

  constructor(generator: Generator | Promise<Generator>, options: HandlerOptions) {
    this.#access = new Access(options);
    this.#routes = new Routes(options.routes);
    this.#options = {
      bodyBytesMax: checkOption("bodyBytesMax", options.bodyBytesMax ?? 1 << 20, 1),
      keepAliveMs: checkOption("keepAliveMs", Math.round(options.keepAliveMs ?? 5000), 0),
      // deno-lint-ignore no-console -- a server that hides why it failed cannot be run
      onError: options.onError ?? ((failure) => console.error(failure)),
    };
    this.#socketLimits = { ...SOCKET_DEFAULTS, ...options.sockets };
    for (const [name, value] of Object.entries(this.#socketLimits)) {
      checkOption(`sockets.${name}`, value, name === "idleMs" ? 0 : 1);
    }
    this.#watch(generator);
    this.#streaming = new Streaming({
      limits: options.streams,
      store: options.store,
      routes: this.#routes,
      generator: Promise.resolve(generator),
      ready: () => this.#ready(),
      take: (owner, generator) => this.#access.take(owner, generator),
      keepAliveMs: this.#options.keepAliveMs,
      grouping: options.streaming,
      maxTokens: options.maxTokens === undefined
        ? undefined
        : checkOption("maxTokens", options.maxTokens, 1),
      report: this.#options.onError,
    });
    this.#downloads = options.downloads && new DownloadRoutes(options.downloads, this.#options);
    this.#addRoutes();
    // A failed load has been told; there is nothing to go on with then.
    Promise.resolve(generator).then(() => this.#streaming.streams.recover(), () => undefined);
  }

  get streams(): StreamCounts {
    return this.#streaming.streams.counts;
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
    for (const [path, { dialect, route }] of this.#routes.paths) {
      const generate = (request: Request) => this.#generate(path, route, request);
      this.#add("POST", path, dialect.errorBody, generate);
      if (route.query) this.#add("GET", path, dialect.errorBody, generate, "generate");
    }
    for (const { describes, errorBody } of DIALECTS) {
      for (const route of describes) {
        this.#add("GET", route.path, errorBody, (_request, rest) => this.#describe(route, rest));
      }
    }
    this.#add("GET", STREAM_PATH, native.errorBody, async (request, id) => {
      const query = new URL(request.url).searchParams;
      const dialect = query.get("dialect") ?? undefined;
      // An unknown one is told whether there is such a stream or not.
      if (dialect !== undefined) this.#routes.named(dialect);
      const view = {
        framing: framingOf(request),
        dialect,
        isLate: query.get("snapshot") === "true",
      };
      const owner = await ownerOf(request);
      return tied(request, await this.#streaming.read(id, owner, cursorOf(request), view));
    });
    this.#add("POST", STREAM_PATH, native.errorBody, (request, rest) => {
      return this.#control(request, rest);
    });
    this.#add("DELETE", STREAM_PATH, native.errorBody, async (request, id) => {
      refuseCrossSite(request);
      await this.#streaming.stop(id, await ownerOf(request));
      return new Response(null, { status: 204 });
    });
    this.#add("POST", "/v1/tickets", native.errorBody, (request) => {
      return this.#access.ticket(request, this.#options.bodyBytesMax);
    }, "any");
    for (const [method, path, serve] of this.#downloads?.routes ?? []) {
      this.#add(method, path, native.errorBody, async (request) => {
        return tied(request, await serve(request));
      });
    }
    this.#add("GET", "/health", openai.errorBody, () => this.#health());
    this.#add("GET", "/health/ready", openai.errorBody, () => this.#health());
    this.#add("GET", "/health/live", openai.errorBody, () => json({ status: "ok" }, 200));
  }

  #add(
    method: string,
    path: string,
    errorBody: ErrorBody,
    serve: Serve,
    demand = demandOf(method, path),
  ): void {
    const { methods } = this.#router.at(path, () => ({ methods: new Map(), errorBody }));
    methods.set(method, { serve, demand });
  }

  async handle(request: Request): Promise<Response> {
    return this.#access.finish(request, await this.#answer(request));
  }

  async #answer(request: Request): Promise<Response> {
    let errorBody: ErrorBody = openai.errorBody;
    try {
      const preflight = this.#access.begin(request);
      if (preflight !== undefined) return preflight;
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
    const action = methods.get(method === "HEAD" ? "GET" : method);
    if (action !== undefined) {
      await this.#access.enter(request, action.demand);
      const response = await action.serve(request, rest);
      if (method !== "HEAD") return response;
      // Nobody reads it, so a reader of a stream must be told that it is gone.
      await response.body?.cancel();
      return new Response(null, response);
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
    return refusal(this.#tell(thrown), errorBody);
  }

  #tell(thrown: unknown): PublicError {
    const error = publicError(thrown);
    // A failed load was told when it failed.
    const isNews = error.status >= 500 && thrown !== this.#loadFailure?.thrown;
    if (isNews) this.#options.onError(thrown);
    return error;
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
    // The model answers, but a stream could not be resumed after a restart now.
    const status = this.#streaming.streams.degraded ? "degraded" : "ok";
    return json({ status, model: this.#generator.model.id }, 200);
  }

  async #generate(path: string, route: Speech, request: Request): Promise<Response> {
    refuseCrossSite(request);
    const manner = mannerOf(request);
    if (manner.isGet) checkAccept(request);
    const framing = framingOf(request);
    // It asks what a GET would say, and must start nothing.
    if (request.method === "HEAD") {
      const headers = { ...STREAM_HEADERS, "content-type": framing.contentType };
      return new Response(null, { headers });
    }
    const owner = await ownerOf(request);
    const resumed = await this.#streaming.resume(owner, cursorOf(request), framing);
    if (resumed !== undefined) return tied(request, resumed);
    const idempotencyKey = idempotencyKeyOf(request);
    const body = manner.isGet && route.query
      ? route.query(new URL(request.url).searchParams)
      : await readJsonObject(request, this.#options.bodyBytesMax);
    const spoken = { path, dialect: route.shape?.(manner) ?? route.name };
    const { ask, context, exchange } = this.#accept(spoken, body, owner, idempotencyKey);
    try {
      return tied(request, await this.#streaming.answer({ ...ask, framing }, context, exchange));
    } catch (thrown) {
      return this.#refuse(thrown, exchange.errorBody);
    }
  }

  /** `POST /v1/streams/{id}/control`. */
  async #control(request: Request, rest: string): Promise<Response> {
    refuseCrossSite(request);
    const [id = "", verb, ...more] = rest.split("/");
    if (verb !== "control" || more.length > 0) {
      throw new RequestError("Cannot find it: a stream takes POST at /control alone", [], {
        code: "not_found",
        status: 404,
      });
    }
    const body = await readJsonObject(request, this.#options.bodyBytesMax);
    const control = readControl(body);
    await this.#streaming.control(id, await ownerOf(request), control);
    return json({ stream: id, action: control.action }, 200);
  }

  #accept(
    { path, dialect }: Spoken,
    body: JsonObject,
    owner: string,
    idempotencyKey: string | undefined,
  ): Accepted {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
    const context: AnswerContext = {
      model: this.#ready().model,
      id: crypto.randomUUID().replaceAll("-", ""),
      created: Math.floor(Date.now() / 1000),
    };
    const { route } = this.#routes.named(dialect);
    const exchange = route.accept(withSeed(body, seed), context);
    return { ask: { path, dialect, body, seed, owner, idempotencyKey }, context, exchange };
  }

  async upgrade(request: Request): Promise<OpenSocket | Response | undefined> {
    if (!wantsSocket(request)) return undefined;
    try {
      this.#access.begin(request);
      if (new URL(request.url).pathname !== SOCKET_PATH) return undefined;
      checkHandshake(request);
      refuseCrossSite(request);
      await this.#access.enter(request, "generate");
      if (this.#isDraining) this.#ready();
      const owner = await ownerOf(request);
      return (socket) => this.#openSocket(socket, owner);
    } catch (thrown) {
      return this.#refuse(thrown, native.errorBody);
    }
  }

  #openSocket(socket: Socket, owner: string): SocketSession {
    const spoken = { path: SOCKET_PATH, dialect: SOCKET_DIALECT };
    const session = new SocketSession(socket, {
      streaming: this.#streaming,
      owner,
      limits: this.#socketLimits,
      keepAliveMs: this.#options.keepAliveMs,
      dialect: SOCKET_DIALECT,
      accept: (body, idempotencyKey) => this.#accept(spoken, body, owner, idempotencyKey),
      errorBody: native.errorBody,
      tell: (thrown) => this.#tell(thrown),
      onEnd: (ended) => this.#sessions.delete(ended),
    });
    this.#sessions.add(session);
    // It was let in before the server began to stop.
    if (this.#isDraining) void session.shutDown();
    return session;
  }

  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true;
    this.#downloads?.shutDown();
    await this.#streaming.drain(graceMs);
    await Promise.all([...this.#sessions].map((session) => session.shutDown()));
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
  const handler = Object.assign(
    (request: Request) => service.handle(request),
    {
      drain: (graceMs = 0) => service.drain(graceMs),
      upgrade: (request: Request) => service.upgrade(request),
    },
  );
  return Object.defineProperty(handler, "streams", { get: () => service.streams }) as Handler;
}
