/** Prompts, keys and paths: none in what is logged, none in what clients are told. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { GgufError, ModelError, OverloadedError } from "../../../src/errors.ts";
import type { RunningServer } from "../../../src/server/adapters/server.ts";
import { createHandler, type HandlerOptions } from "../../../src/server/handler.ts";
import { type ApiKey, createKey } from "../../../src/server/keys.ts";
import { FakeSocket, HANDSHAKE } from "../../support/fake_socket.ts";
import { MockGenerator, saying, type Script, START, token } from "../../support/mock_generator.ts";
import { RawClient } from "../../support/raw_client.ts";
import { serveHere } from "../../support/serve_here.ts";

const PROMPT = "canary prompt";
const MODEL_FILE = "/home/canary/model.gguf";
const CANARY = /canary/i;

let secret: string;
let key: ApiKey;
beforeAll(async () => {
  ({ secret, key } = await createKey({ name: "ada", requestsPerMinute: 1000 }));
});

/** Bodies that carry the prompt and are refused, each for another reason. */
const REFUSED: readonly (readonly [path: string, body: string])[] = [
  ["/v1/stream", `{"prompt":"${PROMPT}"`],
  ["/v1/stream", `${PROMPT} {}`],
  ["/v1/stream", JSON.stringify({ prompt: [PROMPT], max_tokens: PROMPT, temperature: PROMPT })],
  ["/v1/stream", JSON.stringify({ prompt: PROMPT, messages: [{ role: "user", content: PROMPT }] })],
  ["/v1/stream", JSON.stringify({ prompt: PROMPT, events: [PROMPT], stop: { a: PROMPT } })],
  ["/v1/chat/completions", JSON.stringify({ messages: PROMPT })],
  [
    "/v1/chat/completions",
    JSON.stringify({ messages: [{ role: PROMPT, content: { x: PROMPT } }] }),
  ],
  ["/v1/completions", JSON.stringify({ prompt: { text: PROMPT }, suffix: PROMPT })],
  ["/v1/stream", JSON.stringify({ prompt: PROMPT.repeat(200_000) })],
  ["/v1/stream", `${"[".repeat(100)}"${PROMPT}"`],
];

/** What a generator throws or says of itself when it fails. */
const FAILURES: readonly (readonly [name: string, script: Script])[] = [
  ["a damaged file", () => [new GgufError(`Cannot read ${MODEL_FILE}`, MODEL_FILE, "key", 0)]],
  ["a model that fails", () => [new ModelError(`Cannot use ${MODEL_FILE}`)]],
  ["an unknown error", () => [new TypeError(`Cannot open ${MODEL_FILE}`)]],
  ["a failure in mid-stream", () => [
    START,
    token("x", 1),
    { type: "error", code: "engine_error", message: MODEL_FILE, hints: [] },
  ]],
];

function keyed(script: Script, options: HandlerOptions = {}) {
  const log: string[] = [];
  const onError = (failure: unknown): void =>
    void log.push(`${failure}\n${(failure as Error).stack}`);
  const mock = new MockGenerator(script);
  return { log, handler: createHandler(mock, { keys: [key], onError, ...options }) };
}

function ask(path: string, body?: string, authorization = `Bearer ${secret}`): Request {
  const headers = { authorization };
  return body === undefined
    ? new Request(`http://localhost${path}`, { headers })
    : new Request(`http://localhost${path}`, { method: "POST", headers, body });
}

describe("A prompt", () => {
  it.each(REFUSED)("is in no refusal and no line of the log: %s %#", async (path, body) => {
    const { log, handler } = keyed(saying("x"));
    const response = await handler(ask(path, body));
    expect([400, 413]).toContain(response.status);
    expect(await response.text()).not.toMatch(CANARY);
    expect(log).toEqual([]);
  });

  it("is in nothing where it was taken, streamed or refused for now", async () => {
    const scripts: Script[] = [saying("x"), () => [new OverloadedError("The queue is full", 1)]];
    for (const script of [...scripts, ...FAILURES.map(([, failing]) => failing)]) {
      const { log, handler } = keyed(script);
      for (const path of ["/v1/stream", "/v1/completions"]) {
        const response = await handler(ask(path, JSON.stringify({ prompt: PROMPT, stream: true })));
        expect(await response.text()).not.toMatch(CANARY);
      }
      expect(log.join()).not.toContain(PROMPT);
    }
  });

  it("is in no error on a WebSocket", async () => {
    const { log, handler } = keyed(saying("x"));
    const headers = { ...HANDSHAKE, authorization: `Bearer ${secret}` };
    const begin = await handler.upgrade!(new Request("http://localhost/v1/stream", { headers }));
    if (typeof begin !== "function") throw new Error("it was refused");
    const socket = new FakeSocket();
    socket.session = begin(socket);
    socket.tell(`{"type":"request","prompt":"${PROMPT}"`);
    socket.tell({ type: PROMPT });
    socket.tell({ type: "request", prompt: { text: PROMPT }, max_tokens: PROMPT });
    await socket.next("error", 3);
    expect(JSON.stringify(socket.messages)).not.toMatch(CANARY);
    expect(log).toEqual([]);
  });
});

describe("A path of this machine", () => {
  it.each(FAILURES)("is in no answer after %s", async (_name, script) => {
    const { log, handler } = keyed(script);
    for (const path of ["/v1/stream", "/v1/completions"]) {
      for (const stream of [true, false]) {
        const response = await handler(ask(path, JSON.stringify({ prompt: "Hi", stream })));
        // An answer in one piece that fails behind its headers is cut.
        const text = await response.text().catch(() => "");
        expect(text).not.toMatch(CANARY);
        expect(text).not.toMatch(/^\s+at /m);
      }
    }
    expect(log.length).toBeGreaterThan(0);
  });
});

describe("A key", () => {
  let log: string[];
  let server: RunningServer;
  beforeAll(async () => {
    const site = keyed(saying("x"));
    ({ log } = site);
    server = await serveHere(site.handler);
  });
  afterAll(() => server.stop());

  it("is in no answer and no line of the log, wherever it was sent", async () => {
    const { log, handler } = keyed(() => [new TypeError("It failed")]);
    const wrong = `${secret.slice(0, -1)}${secret.endsWith("0") ? "1" : "0"}`;
    const body = '{"prompt":"Hi"}';
    const asked = [secret, wrong].flatMap((sent) => [
      ask("/v1/stream", body, `Bearer ${sent}`),
      ask("/v1/stream", body, `Basic ${sent}`),
      ask("/v1/stream", "{", `Bearer ${sent}`),
      ask(`/v1/models?api_key=${sent}`),
      ask(`/v1/models/${sent}`),
      ask(`/${sent}`),
      ask(`/v1/streams/${sent}?from=${sent}`),
      ask(`/v1/models?ticket=${sent}`, undefined, ""),
      ask("/v1/tickets", JSON.stringify({ path: sent, expires_in: sent }), `Bearer ${sent}`),
    ]);
    for (const request of asked) {
      const response = await handler(request);
      const told = `${JSON.stringify([...response.headers])}${await response.text()}`;
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(told).not.toContain(secret.slice(10, -1));
      expect(told).not.toContain(key.hash);
    }
    expect(log.join()).not.toContain(secret.slice(10, -1));
    expect(log.length).toBeGreaterThan(0);
  });

  it("is in no answer to bytes that are no request", async () => {
    const client = await RawClient.open(server.port);
    client.send(`GET /a b HTTP/1.1\r\nHost: localhost\r\nX-Api-Key : ${secret}\r\n\r\n`);
    await client.closed();
    expect(client.received).not.toContain(secret.slice(10));
    expect(log).toEqual([]);
  });
});
