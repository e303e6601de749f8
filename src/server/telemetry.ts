/**
 * Telemetry: everything that a server tells about itself, in one place: metrics, log and spans.
 *
 * @module
 */
import type { GenerateRequest } from "../engine/generator.ts";
import { SluiceError } from "../errors.ts";
import type { StreamNote } from "../stream/note.ts";
import { GenerationWatch } from "./generation_watch.ts";
import { type LogPart, type RequestRecord, ServerLog } from "./log.ts";
import { ServerMetrics } from "./metrics.ts";
import { methodOf, RequestWatch } from "./request_watch.ts";
import { type OpenTelemetryApi, type RequestSpan, Tracing } from "./tracing.ts";

/** Who is told; every field has a default. */
export interface TelemetryOptions {
  /**
   * The module `@opentelemetry/api`, as the program has set it up: requests and generations get
   * spans. Default none.
   */
  opentelemetry?: OpenTelemetryApi;
  /**
   * Told of every failure that a client gets only a sentence about, as it was thrown; the log has
   * it without values. Default nobody else, and `console.error` where LogTape is not configured.
   */
  onError?: (failure: unknown) => void;
}

/** See the module. */
export class Telemetry {
  readonly metrics: ServerMetrics = new ServerMetrics();
  readonly log: ServerLog = new ServerLog();
  readonly #tracing: Tracing | undefined;
  readonly #onError: ((failure: unknown) => void) | undefined;

  /** Tells nobody yet. */
  constructor({ opentelemetry, onError }: TelemetryOptions) {
    this.#tracing = opentelemetry && new Tracing(opentelemetry);
    this.#onError = onError;
  }

  /** A request has come. */
  request(request: Request): RequestWatch {
    const span = this.#tracing?.request(request.headers, methodOf(request));
    this.metrics.requestBegun();
    return new RequestWatch(request, span, (record) => this.#requestEnded(record, span));
  }

  #requestEnded(record: RequestRecord, span: RequestSpan | undefined): void {
    const { method, route, status, ms, outcome } = record;
    const isGone = outcome === "gone";
    this.metrics.requestEnded({ route, method, status, seconds: ms / 1000, isGone });
    span?.end(method, route, status, outcome === "cut");
    this.log.request(record);
  }

  /** A generation is about to begin, for a request or without one. */
  generation(
    watch: RequestWatch | undefined,
    model: string,
    request: GenerateRequest,
  ): GenerationWatch {
    return new GenerationWatch({
      metrics: this.metrics,
      span: this.#tracing?.generation(watch?.span, model, request),
      requestId: watch?.id,
      resumedTokens: request.resume?.ids.length ?? 0,
      onEnd: (record) => this.log.generation(record),
    });
  }

  /** The model is there. */
  loaded(model: string, ms: number): void {
    this.log.loaded(model, ms);
  }

  /** Something was refused. */
  refused(thrown: unknown): void {
    if (!(thrown instanceof SluiceError) || thrown.status >= 500) return;
    if (thrown.limit !== undefined || thrown.status === 429) this.met(thrown.limit);
  }

  /** A limit was met; undefined where it has no name here. */
  met(limit: string | undefined): void {
    this.metrics.limitMet(limit);
    if (limit !== undefined) this.log.limit(limit);
  }

  /** Something has failed. */
  failed(thrown: unknown, part: LogPart = "server"): void {
    this.metrics.failed();
    this.log.failure(part, thrown);
    if (this.#onError !== undefined) this.#onError(thrown);
    // deno-lint-ignore no-console -- a server that hides why it failed cannot be run
    else if (!this.log.isConfigured) console.error(thrown);
  }

  /** Something has happened to a stream. */
  note(note: StreamNote): void {
    this.log.stream(note);
  }
}
