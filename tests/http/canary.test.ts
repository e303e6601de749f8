/** Canary words in all that clients send and models say: none in what a server tells of itself. */
import { afterAll, describe, expect, it } from "bun:test";
import * as api from "@opentelemetry/api";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { GgufError, UpstreamError } from "../../src/errors.ts";
import { createHandler } from "../../src/server/handler.ts";
import { createKey } from "../../src/server/keys.ts";
import { FakeSocket, HANDSHAKE } from "../support/fake_socket.ts";
import { LogRecords } from "../support/log_records.ts";
import {
  complete,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { MemoryStore } from "../support/memory_store.ts";

// No name of a file has it, not even that of this one.
const WORD = "serinus";
const CANARY = /serinus/i;
const FILE = `/home/${WORD}/models of ${WORD}/${WORD}.gguf`;

const exporter = new InMemorySpanExporter();
api.trace.setGlobalTracerProvider(
  new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
);
afterAll(() => api.trace.disable());

/** What a model says, and how it fails. */
const SCRIPTS: readonly (readonly [name: string, script: Script])[] = [
  ["that ends", saying(` ${WORD}`, WORD)],
  ["that fails on a file", () => [new GgufError(`Cannot read ${FILE}: bad`, FILE, WORD, 0)]],
  ["that fails with what a server behind it said", () => [new UpstreamError(`It said ${WORD}`)]],
  ["that throws", () => [START, token(WORD, 1), new TypeError(`${WORD} ${FILE}`)]],
  ["that says an error", () => [
    START,
    token(WORD, 1),
    { type: "error", code: "engine_error", message: `${WORD} ${FILE}`, hints: [] },
  ]],
  ["that ends on a stop string", () => [START, token(WORD, 1), usage(1), complete(1, "stop")]],
];

const HEADERS = {
  "user-agent": WORD,
  "x-request-id": `${WORD} ${WORD}`,
  accept: "text/event-stream, application/json",
  "last-event-id": WORD,
  referer: `http://localhost/${WORD}?${WORD}`,
  cookie: WORD,
  traceparent: WORD,
  tracestate: `${WORD}=${WORD}`,
  baggage: `${WORD}=${WORD}`,
};

/** Everything that a server may be asked with a canary in it; bodies are JSON or no JSON. */
const REQUESTS: readonly (readonly [method: string, path: string, body?: string])[] = [
  ["POST", "/v1/stream", JSON.stringify({ prompt: WORD, stop: [WORD], model: WORD })],
  ["POST", "/v1/completions", JSON.stringify({ prompt: WORD, model: WORD, user: WORD })],
  [
    "POST",
    "/v1/chat/completions",
    JSON.stringify({ messages: [{ role: "user", content: WORD, name: WORD }], stream: true }),
  ],
  ["POST", "/generate", JSON.stringify({ inputs: WORD })],
  ["POST", "/v1/stream", `{"prompt":"${WORD}"`],
  ["POST", "/v1/stream", JSON.stringify({ prompt: [WORD], max_tokens: WORD, [WORD]: WORD })],
  ["POST", "/v1/stream", JSON.stringify({ prompt: WORD.repeat(300_000) })],
  ["GET", `/chat/stream?prompt=${WORD}&${WORD}=${WORD}`],
  ["GET", `/v1/infer?prompt=${WORD}&stream=true&ticket=${WORD}`],
  ["GET", `/v1/models/${WORD}?${WORD}`],
  ["GET", `/v1/streams/${WORD}?from=${WORD}&dialect=${WORD}`],
  ["POST", `/v1/streams/${WORD}/control`, JSON.stringify({ action: WORD, [WORD]: 1 })],
  ["DELETE", `/v1/streams/${WORD}`],
  ["POST", "/v1/tickets", JSON.stringify({ path: `/${WORD}` })],
  ["PUT", `/v1/stream?${WORD}`],
  ["GET", `/health?${WORD}`],
];

describe("No canary is in what a server tells of itself, of a model", () => {
  it.each(SCRIPTS)("%s", async (_name, script) => {
    using log = new LogRecords();
    exporter.reset();
    const { secret, key } = await createKey({
      name: WORD,
      scopes: ["generate", "read", "metrics"],
    });
    const handler = createHandler(new MockGenerator(script), {
      keys: [key],
      opentelemetry: api,
      onError: () => undefined,
      store: new MemoryStore(),
    });
    const authorization = `Bearer ${secret}`;
    const tickets: string[] = [];
    for (const [method, path, body] of REQUESTS) {
      const init = { method, headers: { ...HEADERS, authorization }, body: body ?? null };
      const response = await handler(new Request(`http://localhost${path}`, init));
      const text = await response.text().catch(() => "");
      if (path === "/v1/tickets") tickets.push(String(JSON.parse(text).ticket));
      for (const name of ["server-timing", "x-request-id"]) {
        expect(response.headers.get(name)).not.toMatch(CANARY);
      }
    }
    await handler(new Request(`http://localhost/v1/models?ticket=${tickets[0]}`));
    const scraped = await handler(
      new Request("http://localhost/metrics", { headers: { authorization } }),
    );
    const metrics = await scraped.text();
    const spans = JSON.stringify(
      exporter.getFinishedSpans().map(({ name, attributes, events, status }) => [
        name,
        attributes,
        events,
        status,
      ]),
    );
    expect(log.records.length).toBeGreaterThan(REQUESTS.length);
    expect(spans.length).toBeGreaterThan(1000);
    for (const told of [log.text, metrics, spans]) {
      expect(told).not.toMatch(CANARY);
      expect(told).not.toContain(secret.slice(10));
      expect(told).not.toContain(key.hash);
      expect(told).not.toContain(tickets[0]!);
      expect(told).not.toMatch(/[/\\](home|srv|work|tmp)\b/);
    }
  });

  it("of a client on a WebSocket", async () => {
    using log = new LogRecords();
    const handler = createHandler(new MockGenerator(saying(WORD)));
    const begin = await handler.upgrade!(
      new Request(`http://localhost/v1/stream?${WORD}`, { headers: { ...HEADERS, ...HANDSHAKE } }),
    );
    if (typeof begin !== "function") throw new Error("it was refused");
    const socket = new FakeSocket();
    socket.session = begin(socket);
    socket.tell({ type: "request", prompt: WORD, request_id: WORD });
    socket.tell({ type: WORD, [WORD]: WORD });
    await socket.next("complete");
    socket.session.onClose();
    expect(log.records.map(({ message }) => message[0])).toContain("request");
    const metrics = await handler(new Request("http://localhost/metrics"));
    expect(`${log.text}${await metrics.text()}`).not.toMatch(CANARY);
  });
});
