/**
 * Spans of OpenTelemetry: one for each request, and below it one for the generation.
 *
 * The program passes the API in, so this package needs none at run time. Attributes are those of
 * the semantic conventions for HTTP servers and for generative AI; none holds what was said.
 *
 * @module
 */
import type * as OpenTelemetry from "@opentelemetry/api";
import type { GenerateRequest } from "../engine/generator.ts";
import type { FinishReason } from "../stream/event.ts";

/** What is used of `@opentelemetry/api`; the whole module fits. */
export type OpenTelemetryApi = Pick<
  typeof OpenTelemetry,
  "context" | "propagation" | "trace" | "SpanKind" | "SpanStatusCode"
>;

type Context = OpenTelemetry.Context;
type Span = OpenTelemetry.Span;

const TRACER = "@sluice/llm";
const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** Makes spans; see the module. */
export class Tracing {
  readonly #api: OpenTelemetryApi;

  /** @param api the module `@opentelemetry/api`, as the program has set it up */
  constructor(api: OpenTelemetryApi) {
    this.#api = api;
  }

  /** The span of a request, under that of its client where it sends one. */
  request(headers: Headers, method: string): RequestSpan {
    const { SpanKind, trace } = this.#api;
    const span = trace.getTracer(TRACER).startSpan(method, {
      kind: SpanKind.SERVER,
      attributes: { "http.request.method": method },
    }, this.#parent(headers));
    return new RequestSpan(this.#api, span);
  }

  /** The span of a generation, under that of its request where there is one. */
  generation(
    parent: RequestSpan | undefined,
    model: string,
    request: GenerateRequest,
  ): GenerationSpan {
    const { SpanKind, context, trace } = this.#api;
    const operation = request.messages === undefined ? "text_completion" : "chat";
    const { maxTokens, sampling } = request;
    const span = trace.getTracer(TRACER).startSpan(`${operation} ${model}`, {
      kind: SpanKind.INTERNAL,
      attributes: {
        "gen_ai.operation.name": operation,
        "gen_ai.system": "sluice",
        "gen_ai.provider.name": "sluice",
        "gen_ai.request.model": model,
        ...(maxTokens !== undefined && { "gen_ai.request.max_tokens": maxTokens }),
        ...(sampling?.temperature !== undefined &&
          { "gen_ai.request.temperature": sampling.temperature }),
      },
    }, parent?.context ?? context.active());
    return new GenerationSpan(this.#api, span);
  }

  /** What the propagator of the program finds; where it has none, the header of the W3C. */
  #parent(headers: Headers): Context {
    const { context, propagation, trace } = this.#api;
    const active = context.active();
    const found = propagation.extract(active, headers, {
      get: (carrier, name) => carrier.get(name) ?? undefined,
      keys: (carrier) => [...carrier.keys()],
    });
    if (trace.getSpanContext(found) !== trace.getSpanContext(active)) return found;
    const [, traceId, spanId, flags] = TRACEPARENT.exec(headers.get("traceparent") ?? "") ?? [];
    if (traceId === undefined || spanId === undefined || flags === undefined) return active;
    const parent = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
    return trace.isSpanContextValid(parent) ? trace.setSpanContext(active, parent) : active;
  }
}

/** The span of a request, open until the last byte of its answer. */
export class RequestSpan {
  readonly #api: OpenTelemetryApi;
  readonly #span: Span;

  /** Use `Tracing.request`. */
  constructor(api: OpenTelemetryApi, span: Span) {
    this.#api = api;
    this.#span = span;
  }

  /** For spans below it. */
  get context(): Context {
    return this.#api.trace.setSpan(this.#api.context.active(), this.#span);
  }

  /** The request is over. */
  end(method: string, route: string, status: number, isCut: boolean): void {
    const span = this.#span;
    span.updateName(`${method} ${route}`);
    span.setAttributes({ "http.route": route, "http.response.status_code": status });
    const error = status >= 500 ? String(status) : isCut ? "cut" : undefined;
    if (error !== undefined) {
      span.setAttribute("error.type", error);
      span.setStatus({ code: this.#api.SpanStatusCode.ERROR });
    }
    span.end();
  }
}

/** The span of a generation, open until it is over. */
export class GenerationSpan {
  readonly #api: OpenTelemetryApi;
  readonly #span: Span;

  /** Use `Tracing.generation`. */
  constructor(api: OpenTelemetryApi, span: Span) {
    this.#api = api;
    this.#span = span;
  }

  /** Runs what may make spans of its own below this one. */
  within<T>(run: () => T): T {
    const { context, trace } = this.#api;
    return context.with(trace.setSpan(context.active(), this.#span), run);
  }

  /** The first token is there. */
  firstToken(): void {
    this.#span.addEvent("gen_ai.first_token");
  }

  /** It has ended; `code` is that of its error. */
  end(reason: FinishReason, promptTokens: number, tokens: number, code: string | undefined): void {
    const span = this.#span;
    span.setAttributes({
      "gen_ai.usage.input_tokens": promptTokens,
      "gen_ai.usage.output_tokens": tokens,
      "gen_ai.response.finish_reasons": [reason],
    });
    if (code !== undefined) this.#fail(code);
    span.end();
  }

  /** It was refused before it began. */
  refuse(code: string): void {
    this.#fail(code);
    this.#span.end();
  }

  #fail(code: string): void {
    this.#span.setAttribute("error.type", code);
    this.#span.setStatus({ code: this.#api.SpanStatusCode.ERROR });
  }
}
