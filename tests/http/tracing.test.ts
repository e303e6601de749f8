/** Spans: one for each request under its client's, one for the generation under that. */
import { afterAll, beforeEach, describe, expect, it } from "bun:test";
import * as api from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import type { Script } from "../support/mock_generator.ts";
import { Tracing } from "../../src/server/tracing.ts";
import { complete, endless, saying, START, token } from "../support/mock_generator.ts";
import { ChunkReader, get, post } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

const exporter = new InMemorySpanExporter();
const manager = new AsyncLocalStorageContextManager().enable();
api.context.setGlobalContextManager(manager);
api.trace.setGlobalTracerProvider(
  new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
);
beforeEach(() => exporter.reset());
afterAll(() => {
  api.trace.disable();
  api.context.disable();
});

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID = "b7ad6b7169203331";
const TRACEPARENT = { traceparent: `00-${TRACE_ID}-${PARENT_ID}-01` };
const CHAT = { messages: [{ role: "user", content: "Hi" }], max_tokens: 9, stream: true };

const traced = (script: Script) => serve(script, { opentelemetry: api });

function spanOf(kind: api.SpanKind): ReadableSpan {
  const found = exporter.getFinishedSpans().filter((span) => span.kind === kind);
  expect(found.length).toBe(1);
  return found[0]!;
}

describe("The span of a request", () => {
  it("has the client's as its parent, and the pattern of the route as its name", async () => {
    const { handler } = traced(saying("x"));
    await handler(get("/v1/models/mock?secret=1", TRACEPARENT));
    const span = spanOf(api.SpanKind.SERVER);
    expect(span.name).toBe("GET /v1/models/*");
    expect(span.spanContext().traceId).toBe(TRACE_ID);
    expect(span.parentSpanContext?.spanId).toBe(PARENT_ID);
    expect(span.attributes).toEqual({
      "http.request.method": "GET",
      "http.route": "/v1/models/*",
      "http.response.status_code": 200,
    });
    expect(span.status.code).toBe(api.SpanStatusCode.UNSET);
  });

  it.each([
    "",
    "00-0-0-00",
    `00-${"0".repeat(32)}-${PARENT_ID}-01`,
    `99-${TRACE_ID}-${PARENT_ID}-01`,
  ])(
    "begins a trace where traceparent is %j",
    async (traceparent) => {
      await traced(saying("x")).handler(get("/health", { traceparent }));
      const span = spanOf(api.SpanKind.SERVER);
      expect(span.parentSpanContext).toBe(undefined);
      expect(span.spanContext().traceId).not.toBe(TRACE_ID);
    },
  );

  it("is below what is active in the program that asks in process", async () => {
    const { handler } = traced(saying("x"));
    const outer = api.trace.getTracer("test").startSpan("outer");
    await api.context.with(
      api.trace.setSpan(api.context.active(), outer),
      () => handler(get("/health")),
    );
    expect(spanOf(api.SpanKind.SERVER).parentSpanContext?.spanId).toBe(outer.spanContext().spanId);
  });

  it("is an error where the server failed, and none where the client did", async () => {
    const { handler } = traced(() => [new TypeError("It failed")]);
    await handler(get("/nowhere"));
    expect(spanOf(api.SpanKind.SERVER).status.code).toBe(api.SpanStatusCode.UNSET);
    exporter.reset();
    await whole(handler, post("/v1/stream", { prompt: "Hi" }));
    const span = spanOf(api.SpanKind.SERVER);
    expect(span.status).toEqual({ code: api.SpanStatusCode.ERROR });
    expect(span.attributes["error.type"]).toBe("500");
  });
});

describe("The span of a generation", () => {
  it("is below its request's and says what the conventions for generative AI name", async () => {
    const { handler } = traced(saying("a", "b"));
    await whole(handler, post("/v1/chat/completions", CHAT, TRACEPARENT));
    const span = spanOf(api.SpanKind.INTERNAL);
    const request = spanOf(api.SpanKind.SERVER);
    expect(span.name).toBe("chat mock");
    expect(span.parentSpanContext?.spanId).toBe(request.spanContext().spanId);
    expect(span.spanContext().traceId).toBe(TRACE_ID);
    expect(span.attributes).toEqual({
      "gen_ai.operation.name": "chat",
      "gen_ai.system": "sluice",
      "gen_ai.provider.name": "sluice",
      "gen_ai.request.model": "mock",
      "gen_ai.request.max_tokens": 9,
      "gen_ai.usage.input_tokens": 5,
      "gen_ai.usage.output_tokens": 2,
      "gen_ai.response.finish_reasons": ["eos"],
    });
    expect(span.events.map(({ name }) => name)).toEqual(["gen_ai.first_token"]);
  });

  it("ends with the stream, not with the head of its answer", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { handler } = traced(() => [START, token("a", 1), promise, complete(1)]);
    const response = await handler(post("/v1/stream", { prompt: "Hi" }));
    const reader = new ChunkReader(response);
    await reader.next();
    await reader.next();
    expect(exporter.getFinishedSpans()).toEqual([]);
    resolve();
    while (await reader.next() !== undefined);
    expect(spanOf(api.SpanKind.INTERNAL).name).toBe("text_completion mock");
    expect(spanOf(api.SpanKind.SERVER).ended).toBe(true);
  });

  it("ends when the reader leaves", async () => {
    const { handler, mock } = traced(endless());
    const reader = new ChunkReader(await handler(post("/v1/stream", { prompt: "Hi" })));
    await reader.next();
    await reader.next();
    await reader.cancel();
    await mock.until(() => mock.active === 0);
    expect(spanOf(api.SpanKind.INTERNAL).attributes["gen_ai.response.finish_reasons"])
      .toEqual(["cancelled"]);
    expect(spanOf(api.SpanKind.SERVER).ended).toBe(true);
  });

  it.each([
    ["refused", () => [new TypeError("It failed")], "internal_error"],
    ["cut", () => [START, new TypeError("It failed")], "internal_error"],
  ] as [string, Script, string][])("is an error where it was %s", async (_how, script, code) => {
    await whole(traced(script).handler, post("/v1/stream", { prompt: "Hi" }));
    const span = spanOf(api.SpanKind.INTERNAL);
    expect(span.status).toEqual({ code: api.SpanStatusCode.ERROR });
    expect(span.attributes["error.type"]).toBe(code);
  });

  it("is what the generator's own spans are below", async () => {
    const active: (string | undefined)[] = [];
    const { handler } = traced(() => {
      active.push(api.trace.getActiveSpan()?.spanContext().spanId);
      return saying("x")({});
    });
    await whole(handler, post("/v1/stream", { prompt: "Hi" }));
    expect(active).toEqual([spanOf(api.SpanKind.INTERNAL).spanContext().spanId]);
  });
});

describe("Tracing", () => {
  it("takes the propagator of the program where that finds something", () => {
    const propagator: api.TextMapPropagator = {
      inject: () => undefined,
      fields: () => ["b3"],
      extract: (context, carrier, getter) => {
        const traceId = String(getter.get(carrier, "b3"));
        return api.trace.setSpanContext(context, { traceId, spanId: PARENT_ID, traceFlags: 1 });
      },
    };
    api.propagation.setGlobalPropagator(propagator);
    try {
      new Tracing(api).request(new Headers({ b3: TRACE_ID }), "GET").end("GET", "/", 200, false);
      expect(spanOf(api.SpanKind.SERVER).spanContext().traceId).toBe(TRACE_ID);
    } finally {
      api.propagation.disable();
    }
  });
});
