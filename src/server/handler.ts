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
import { RequestError, SluiceError } from "../errors.ts";
import { Access, type AccessOptions, type Demand, demandOf } from "./access.ts";
import { readJsonObject } from "./body.ts";
import type { JsonObject } from "./fields.ts";
import type { StreamingConfig } from "../stream/config.ts";
import type { StreamStore } from "../stream/store.ts";
import type { StreamCounts, StreamLimits } from "../stream/limits.ts";
import type { AnswerContext, ModelRoute, Speech } from "./dialect.ts";
import { native } from "./dialects/native.ts";
import { openai } from "./dialects/openai.ts";
import { DownloadRoutes, type Downloads } from "./downloads.ts";
import { STREAM_HEADERS } from "./event_stream.ts";
import { EXPOSITION_TYPE } from "./exposition.ts";
import { tied } from "./fetch.ts";
import { framingOf } from "./framing.ts";
import { ownerOf, refuseCrossSite, visitOf } from "./gate.ts";
import { type ErrorBody, json, refusal } from "./json_response.ts";
import { withSeed } from "./kept_request.ts";
import { type PublicError, publicError } from "./public_error.ts";
import { checkAccept, mannerOf } from "./query.ts";
import { Readiness } from "./readiness.ts";
import { Router } from "./router.ts";
import { DIALECTS, Routes } from "./routes.ts";
import type { RequestWatch } from "./request_watch.ts";
import { type Accepted, SOCKET_DEFAULTS, type SocketLimits } from "./socket.ts";
import { STREAM_PATH, streamRoutes } from "./stream_routes.ts";
import { type Ask, type Asker, cursorOf, idempotencyKeyOf, Streaming } from "./streaming.ts";
import { Telemetry, type TelemetryOptions } from "./telemetry.ts";
import { type OpenSocket, SOCKET_DIALECT, SOCKET_PATH, Upgrades } from "./upgrades.ts";
import { JSON_HEADERS } from "./whole_body.ts";

/** How a handler behaves; every field has a default. */
export interface HandlerOptions extends AccessOptions, TelemetryOptions {
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
}

export type { OpenSocket };

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
  /** As it was added, so that it names the route and nothing that a client has written. */
  readonly path: string;
  readonly methods: Map<string, { readonly serve: Serve; readonly demand: Demand }>;
  readonly errorBody: ErrorBody;
}

/** Largest value of an option; a timer that is set to more fires at once. */
const OPTION_MAX = 2 ** 31 - 1;

function allowOf(methods: ReadonlyMap<string, unknown>): string {
  const names = [...methods.keys()];
  if (methods.has("GET")) names.push("HEAD");
  return [...names, "OPTIONS"].join(", ");
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
  readonly #options: Required<Pick<HandlerOptions, "bodyBytesMax" | "keepAliveMs">>;
  readonly #telemetry: Telemetry;
  readonly #streaming: Streaming;
  readonly #routes: Routes;
  readonly #access: Access;
  readonly #router = new Router<Endpoint>();
  readonly #upgrades: Upgrades;
  readonly #downloads: DownloadRoutes | undefined;
  readonly #readiness: Readiness;

  constructor(generator: Generator | Promise<Generator>, options: HandlerOptions) {
    this.#access = new Access(options);
    this.#routes = new Routes(options.routes);
    this.#options = {
      bodyBytesMax: checkOption("bodyBytesMax", options.bodyBytesMax ?? 1 << 20, 1),
      keepAliveMs: checkOption("keepAliveMs", Math.round(options.keepAliveMs ?? 5000), 0),
    };
    this.#telemetry = new Telemetry(options);
    this.#readiness = new Readiness(generator, this.#telemetry);
    this.#streaming = new Streaming({
      limits: options.streams,
      store: options.store,
      routes: this.#routes,
      generator: this.#readiness.loaded,
      ready: () => this.#readiness.ready(),
      take: (owner, generator) => this.#access.take(owner, generator),
      keepAliveMs: this.#options.keepAliveMs,
      grouping: options.streaming,
      maxTokens: options.maxTokens === undefined
        ? undefined
        : checkOption("maxTokens", options.maxTokens, 1),
      telemetry: this.#telemetry,
    });
    this.#upgrades = this.#makeUpgrades(options.sockets);
    this.#downloads = options.downloads && new DownloadRoutes(options.downloads, this.#options);
    this.#addRoutes();
    // A failed load has been told; there is nothing to go on with then.
    this.#readiness.loaded.then(() => this.#streaming.streams.recover(), () => undefined);
  }

  get streams(): StreamCounts {
    return this.#streaming.streams.counts;
  }

  upgrade(request: Request): Promise<OpenSocket | Response | undefined> {
    return this.#upgrades.upgrade(request);
  }

  #makeUpgrades(given: SocketLimits | undefined): Upgrades {
    const limits = { ...SOCKET_DEFAULTS, ...given };
    for (const [name, value] of Object.entries(limits)) {
      checkOption(`sockets.${name}`, value, name === "idleMs" ? 0 : 1);
    }
    const spoken = { path: SOCKET_PATH, dialect: SOCKET_DIALECT };
    return new Upgrades({
      access: this.#access,
      readiness: this.#readiness,
      streaming: this.#streaming,
      telemetry: this.#telemetry,
      limits,
      keepAliveMs: this.#options.keepAliveMs,
      accept: (body, asker) => this.#accept(spoken, body, asker),
      tell: (thrown) => this.#tell(thrown),
    });
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
    const { bodyBytesMax } = this.#options;
    const options = { streaming: this.#streaming, routes: this.#routes, bodyBytesMax };
    for (const [method, serve] of streamRoutes(options)) {
      this.#add(method, STREAM_PATH, native.errorBody, serve);
    }
    this.#add("POST", "/v1/tickets", native.errorBody, (request) => {
      return this.#access.ticket(request, bodyBytesMax);
    }, "any");
    for (const [method, path, serve] of this.#downloads?.routes ?? []) {
      this.#add(method, path, native.errorBody, serve);
    }
    this.#add("GET", "/health", openai.errorBody, () => this.#health());
    this.#add("GET", "/health/ready", openai.errorBody, () => this.#health());
    this.#add("GET", "/metrics", native.errorBody, () => this.#metrics());
    this.#add("GET", "/health/live", openai.errorBody, () => json({ status: "ok" }, 200));
  }

  #add(
    method: string,
    path: string,
    errorBody: ErrorBody,
    serve: Serve,
    demand = demandOf(method, path),
  ): void {
    const { methods } = this.#router.at(path, () => ({ path, methods: new Map(), errorBody }));
    methods.set(method, { serve, demand });
  }

  async handle(request: Request): Promise<Response> {
    const watch = visitOf(request).watch = this.#telemetry.request(request);
    return watch.answered(this.#access.finish(request, await this.#answer(request, watch)));
  }

  async #answer(request: Request, watch: RequestWatch): Promise<Response> {
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
      watch.route = match.target.path;
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
      if (method !== "HEAD") return tied(request, response);
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
    const isNews = error.status >= 500 && !this.#readiness.isLoadFailure(thrown);
    if (isNews) this.#telemetry.failed(thrown);
    this.#telemetry.refused(thrown);
    return error;
  }

  #describe(route: ModelRoute, rest: string): Response {
    return json(route.describe(this.#readiness.ready().model, rest), 200);
  }

  #health(): Response {
    const { health } = this.#readiness;
    if (health.status !== "ok") return json(health, 503);
    // The model answers, but a stream could not be resumed after a restart now.
    const status = this.#streaming.streams.degraded ? "degraded" : "ok";
    return json({ ...health, status }, 200);
  }

  #metrics(): Response {
    const { metrics } = this.#telemetry;
    const text = metrics.expose({
      streams: this.streams,
      sockets: this.#upgrades.open,
      isReady: this.#readiness.health.status === "ok",
      load: this.#readiness.generator?.load,
      downloads: this.#downloads?.counts,
    });
    return new Response(text, { headers: { ...JSON_HEADERS, "content-type": EXPOSITION_TYPE } });
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
    if (resumed !== undefined) return resumed;
    const { watch } = visitOf(request);
    const asker = { owner, idempotencyKey: idempotencyKeyOf(request), watch };
    const body = manner.isGet && route.query
      ? route.query(new URL(request.url).searchParams)
      : await readJsonObject(request, this.#options.bodyBytesMax);
    const spoken = { path, dialect: route.shape?.(manner) ?? route.name };
    const { ask, context, exchange } = this.#accept(spoken, body, asker);
    watch?.lap("request");
    try {
      const response = await this.#streaming.answer({ ...ask, framing }, context, exchange);
      watch?.lap("admit");
      return response;
    } catch (thrown) {
      return this.#refuse(thrown, exchange.errorBody);
    }
  }

  #accept({ path, dialect }: Spoken, body: JsonObject, asker: Asker): Accepted {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
    const context: AnswerContext = {
      model: this.#readiness.ready().model,
      id: crypto.randomUUID().replaceAll("-", ""),
      created: Math.floor(Date.now() / 1000),
    };
    const { route } = this.#routes.named(dialect);
    const exchange = route.accept(withSeed(body, seed), context);
    return { ask: { path, dialect, body, seed, ...asker }, context, exchange };
  }

  async drain(graceMs: number): Promise<void> {
    this.#readiness.drain();
    this.#downloads?.shutDown();
    await this.#streaming.drain(graceMs);
    await this.#upgrades.shutDown();
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
