/** createHandler(): routing, the gate, loading, failures before the headers, the graceful end. */
import { describe, expect, it } from "bun:test";
import { GgufError, ModelError, OverloadedError } from "../../src/errors.ts";
import type { Generator } from "../../src/engine/generator.ts";
import { createHandler, type HandlerOptions } from "../../src/server/handler.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  START,
  token,
} from "../support/mock_generator.ts";
import { get, jsonOf, post, transcript } from "../support/requests.ts";

const PROMPT = { prompt: "Hi" };
const CHAT = { messages: [{ role: "user", content: "Hi" }] };

function quiet(mock: Generator | Promise<Generator>, options: HandlerOptions = {}) {
  const reported: unknown[] = [];
  const handler = createHandler(mock, { onError: (error) => reported.push(error), ...options });
  return { handler, reported };
}

describe("createHandler() routes", () => {
  const { handler } = quiet(new MockGenerator());

  it.each(
    [
      ["GET", "/v1/stream", "POST, OPTIONS"],
      ["DELETE", "/v1/chat/completions", "POST, OPTIONS"],
      ["HEAD", "/v1/completions", "POST, OPTIONS"],
      ["POST", "/v1/models", "GET, HEAD, OPTIONS"],
      ["PUT", "/v1/models/mock", "GET, HEAD, OPTIONS"],
      ["POST", "/health", "GET, HEAD, OPTIONS"],
      ["PATCH", "/health/live", "GET, HEAD, OPTIONS"],
    ] as const,
  )("refuses %s %s with 405 and Allow: %s", async (method, path, allow) => {
    const response = await handler(get(path, {}, method));
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe(allow);
  });

  it("answers OPTIONS with 204 and Allow, and says nothing of CORS", async () => {
    const headers = { origin: "http://evil.test", "access-control-request-method": "POST" };
    const response = await handler(get("/v1/chat/completions", headers, "OPTIONS"));
    expect(await transcript(response)).toBe("204\nallow: POST, OPTIONS\n\n");
  });

  it("answers HEAD as GET without a body", async () => {
    const response = await handler(get("/v1/models", {}, "HEAD"));
    expect(await transcript(response)).toBe(
      "200\ncache-control: no-store\ncontent-type: application/json\n\n",
    );
  });

  it.each([
    "/nowhere",
    "/v1",
    "/v1/models/",
    "/v1/stream/",
    "/health/",
    "/v1/models/%E0%A4%A",
    "//v1/stream",
  ])("knows nothing at %s", async (path) => {
    const { status, body } = await jsonOf(handler, get(path));
    expect(status).toBe(404);
    expect(body["error"]).toMatchObject({ code: "not_found", type: "invalid_request_error" });
  });

  it("decodes the id of a model once", async () => {
    expect((await handler(get("/v1/models/m%6Fck?x=1"))).status).toBe(200);
    expect((await handler(get("/v1/models/m%256Fck"))).status).toBe(404);
  });

  it("ignores the query of a route", async () => {
    expect((await handler(get("/health?x=/v1/models"))).status).toBe(200);
  });
});

describe("createHandler() checks the host first", () => {
  it("and does not look at the route of a refused one", async () => {
    const { handler } = quiet(new MockGenerator());
    const { status, body } = await jsonOf(handler, get("/nothing", { host: "evil.test" }));
    expect(status).toBe(403);
    expect(body["error"]).toMatchObject({ type: "permission_error", code: "host_not_allowed" });
  });

  it("by its hosts option", async () => {
    const named = quiet(new MockGenerator(), { hosts: ["evil.test"] }).handler;
    const open = quiet(new MockGenerator(), { hosts: "*" }).handler;
    for (const handler of [named, open]) {
      expect((await handler(get("/health", { host: "evil.test:1" }))).status).toBe(200);
    }
  });
});

describe("createHandler() refuses what pages of other sites send", () => {
  it.each([["cross-site", 403], ["same-site", 200], ["same-origin", 200], ["none", 200]] as const)(
    "Sec-Fetch-Site: %s gets %d",
    async (site, status) => {
      const mock = new MockGenerator();
      const request = post("/v1/chat/completions", CHAT, { "sec-fetch-site": site });
      expect((await quiet(mock).handler(request)).status).toBe(status);
      expect(mock.requests.length).toBe(status === 200 ? 1 : 0);
    },
  );
});

describe("createHandler() of a promise", () => {
  it("says loading and answers 429 until it settles, then serves", async () => {
    const { promise, resolve } = Promise.withResolvers<Generator>();
    const { handler, reported } = quiet(promise);
    expect(await jsonOf(handler, get("/health"))).toMatchObject({
      status: 503,
      body: { status: "loading" },
    });
    expect((await handler(get("/health/ready"))).status).toBe(503);
    expect((await handler(get("/health/live"))).status).toBe(200);
    for (const request of [post("/v1/stream", PROMPT), get("/v1/models")]) {
      const response = await handler(request);
      expect(response.status).toBe(429);
      expect(response.headers.get("retry-after")).toBe("1");
      expect(await response.text()).toContain("still loading");
    }
    resolve(new MockGenerator());
    await promise;
    expect((await handler(get("/health"))).status).toBe(200);
    expect((await handler(post("/v1/stream", PROMPT))).status).toBe(200);
    expect(reported).toEqual([]);
  });

  it("says failed, reports once and answers 500 without the cause where it rejects", async () => {
    const error = new ModelError("Cannot open /home/me/secret.gguf");
    const { handler, reported } = quiet(Promise.reject(error));
    await Promise.resolve();
    expect(await jsonOf(handler, get("/health"))).toMatchObject({
      status: 503,
      body: { status: "failed" },
    });
    expect((await handler(get("/health/live"))).status).toBe(200);
    const { status, body } = await jsonOf(handler, post("/v1/stream", PROMPT));
    expect(status).toBe(500);
    expect(body).toMatchObject({ error_type: "model" });
    expect(JSON.stringify(body)).not.toContain("secret");
    expect(reported).toEqual([error]);
  });
});

describe("createHandler() maps what a generator throws before it starts", () => {
  const unsafe = "secret prompt at /home/me";
  const cases: [string, Error, number, string][] = [
    ["an overload", new OverloadedError("The queue is full", 7), 429, "overloaded"],
    ["a damaged file", new GgufError(unsafe, "/home/me", "key", 0), 500, "invalid_gguf"],
    ["an unknown error", new TypeError(unsafe), 500, "internal_error"],
    [
      "an error with a status",
      Object.assign(new Error(unsafe), { status: 418 }),
      500,
      "internal_error",
    ],
  ];
  for (const stream of [true, false]) {
    it.each(cases)(`%s, stream ${stream}`, async (_name, error, status, code) => {
      const mock = new MockGenerator(() => [error]);
      const { handler, reported } = quiet(mock);
      const request = post("/v1/chat/completions", { ...CHAT, stream });
      const answer = await jsonOf(handler, request);
      expect(answer.status).toBe(status);
      expect(answer.body["error"]).toMatchObject({ code, param: null });
      expect(JSON.stringify(answer.body)).not.toContain("secret");
      expect(JSON.stringify(answer.body)).not.toContain("/home");
      expect(reported).toEqual(status === 500 ? [error] : []);
    });
  }

  it("an error event in the place of start", async () => {
    const mock = new MockGenerator(() => [
      { type: "error", code: "engine_error", message: unsafe, hints: [] },
    ]);
    const { status, body } = await jsonOf(quiet(mock).handler, post("/v1/stream", PROMPT));
    expect(status).toBe(500);
    expect(body["error_type"]).toBe("generation");
    expect(mock.active).toBe(0);
  });

  it.each([["nothing at all", []], ["a token first", [token("x", 1)]]] as const)(
    "a stream with %s",
    async (_name, steps) => {
      const mock = new MockGenerator(() => steps);
      expect((await quiet(mock).handler(post("/v1/stream", PROMPT))).status).toBe(500);
      expect(mock.active).toBe(0);
    },
  );
});

describe("createHandler() gives the generator", () => {
  async function requestOf(path: string, body: unknown, options: HandlerOptions = {}) {
    const mock = new MockGenerator();
    const response = await quiet(mock, options).handler(post(path, body));
    expect(response.status).toBe(200);
    await response.text();
    return mock.requests[0];
  }

  it("every field of a chat completion under the engine's name", async () => {
    const body = {
      model: "gpt-4o",
      messages: [
        { role: "developer", content: "Be brief.", name: "boss" },
        { role: "user", content: [{ type: "text", text: "a" }, { type: "text", text: "b" }] },
        { role: "assistant", content: null, tool_calls: [] },
        { role: "tool", content: "", tool_call_id: "x" },
      ],
      max_tokens: 1,
      max_completion_tokens: 2,
      temperature: 0,
      top_p: 1,
      stop: "END",
      seed: 4294967295,
      n: 1,
      presence_penalty: 0,
      frequency_penalty: 0,
      logit_bias: {},
      logprobs: false,
      tools: [],
      response_format: { type: "text" },
      top_k: 0,
      min_p: 0.5,
      repeat_penalty: 1.5,
      repeat_last_n: -1,
      ignore_eos: true,
      user: "somebody",
      unknown: { deep: [1] },
    };
    expect(await requestOf("/v1/chat/completions", body)).toEqual({
      messages: [
        { role: "system", content: "Be brief.", name: "boss" },
        { role: "user", content: "a\nb" },
        { role: "assistant", content: "" },
        { role: "tool", content: "" },
      ],
      maxTokens: 2,
      sampling: {
        temperature: 0,
        topK: 0,
        topP: 1,
        minP: 0.5,
        repeatPenalty: 1.5,
        repeatLastN: -1,
        seed: 4294967295,
      },
      stop: ["END"],
      ignoreEos: true,
    });
  });

  it("a completion's prompt as raw text", async () => {
    const body = { prompt: ["<|im_start|>"], stop: ["a", "b"], seed: -1 };
    expect(await requestOf("/v1/completions", body)).toEqual({
      prompt: "<|im_start|>",
      sampling: { seed: expect.any(Number) },
      stop: ["a", "b"],
    });
  });

  it("either name of the native dialect's penalty", async () => {
    const both = { ...PROMPT, repetition_penalty: 1.1, repeat_penalty: 1.2 };
    expect((await requestOf("/v1/stream", { ...PROMPT, repetition_penalty: 1.1 }))?.sampling)
      .toEqual({ repeatPenalty: 1.1, seed: expect.any(Number) });
    expect((await requestOf("/v1/stream", both))?.sampling)
      .toEqual({ repeatPenalty: 1.2, seed: expect.any(Number) });
  });

  it("absence for every null", async () => {
    const names = ["max_tokens", "temperature", "top_p", "stop", "seed", "n", "stream", "tools"];
    const nulls = Object.fromEntries(names.map((name) => [name, null]));
    const body = { ...CHAT, ...nulls, stream_options: null, response_format: null };
    expect(await requestOf("/v1/chat/completions", body)).toEqual({
      ...CHAT,
      sampling: { seed: expect.any(Number) },
    });
  });

  it("at most maxTokens, also where the client gives no number", async () => {
    const cap = { maxTokens: 10 };
    expect((await requestOf("/v1/stream", PROMPT, cap))?.maxTokens).toBe(10);
    expect((await requestOf("/v1/stream", { ...PROMPT, max_tokens: 11 }, cap))?.maxTokens).toBe(10);
    expect((await requestOf("/v1/stream", { ...PROMPT, max_tokens: 9 }, cap))?.maxTokens).toBe(9);
  });

  it("a body of any content type", async () => {
    const mock = new MockGenerator();
    const type = { "content-type": "application/x-www-form-urlencoded" };
    const response = await quiet(mock).handler(post("/v1/stream", PROMPT, type));
    expect(response.status).toBe(200);
    await response.text();
  });
});

describe("createHandler() in process", () => {
  const requests: [string, (signal: AbortSignal) => Request][] = [
    [
      "a stream",
      (signal) => new Request(post("/v1/chat/completions", { ...CHAT, stream: true }), { signal }),
    ],
    [
      "an answer in one piece",
      (signal) => new Request(post("/v1/chat/completions", CHAT), { signal }),
    ],
  ];
  for (const [name, request] of requests) {
    it(`ends ${name} where its request is aborted, as a fetch does`, async () => {
      const gate = Promise.withResolvers<void>();
      const mock = new MockGenerator(endless(() => gate.promise));
      const abort = new AbortController();
      const response = await quiet(mock).handler(request(abort.signal));
      const text = response.text();
      text.catch(() => undefined);
      abort.abort();
      await expect(text).rejects.toBe(abort.signal.reason);
      await mock.until(() => mock.active === 0);
      expect(mock).toMatchObject({ aborted: 1, finished: 1 });
    });

    it(`ends ${name} whose request was aborted before the answer`, async () => {
      const abort = new AbortController();
      const mock = new MockGenerator(function* () {
        abort.abort();
        yield* endless()({});
      });
      const response = await quiet(mock).handler(request(abort.signal));
      await expect(response.text()).rejects.toBe(abort.signal.reason);
      await mock.until(() => mock.active === 0);
    });
  }

  it("leaves the signal of a request alone that came over a socket", async () => {
    const mock = new MockGenerator();
    const request = post("/v1/stream", PROMPT, { host: "localhost" });
    Object.defineProperty(request, "signal", {
      get: () => {
        throw new TypeError("It was looked at");
      },
    });
    expect(await (await quiet(mock).handler(request)).text()).toContain("event: complete");
  });
});

describe("Handler.drain()", () => {
  it("resolves at once where nothing runs, and refuses from then on", async () => {
    const { handler } = quiet(new MockGenerator());
    await handler.drain();
    const response = await handler(post("/v1/stream", PROMPT));
    expect(response.status).toBe(429);
    expect(await response.text()).toContain("stopping");
    expect(await jsonOf(handler, get("/health"))).toMatchObject({
      status: 503,
      body: { status: "stopping" },
    });
    expect((await handler(get("/health/live"))).status).toBe(200);
  });

  it("lets a running stream end within the grace", async () => {
    const gate = Promise.withResolvers<void>();
    const mock = new MockGenerator(() => [START, gate.promise, token("x", 1), complete(1)]);
    const { handler } = quiet(mock);
    const body = (await handler(post("/v1/stream", PROMPT))).text();
    const drained = handler.drain(60_000);
    gate.resolve();
    await drained;
    expect(await body).toContain('"completed_normally":true');
    expect(mock.aborted).toBe(0);
  });

  it("cancels it after the grace, and its reader still gets the terminal event", async () => {
    const gate = Promise.withResolvers<void>();
    const mock = new MockGenerator(() => [START, token("x", 1), gate.promise]);
    const { handler } = quiet(mock);
    const body = (await handler(post("/v1/chat/completions", { ...CHAT, stream: true }))).text();
    const whole = handler(post("/v1/chat/completions", CHAT)).then((response) => response.json());
    whole.catch(() => undefined);
    await mock.until(() => mock.events === 4);
    await handler.drain(1);
    expect(await body).toMatch(/"code":"cancelled"\}\}\n\nid: \S+\ndata: \[DONE\]\n\n$/);
    await expect(whole).rejects.toThrow();
    expect(mock).toMatchObject({ active: 0, aborted: 2 });
  });

  it("waits a second for a reader that does not read, and tells it when it does", async () => {
    const mock = new MockGenerator(endless());
    const { handler } = quiet(mock);
    const response = await handler(post("/v1/stream", PROMPT, { host: "localhost" }));
    await handler.drain(1);
    expect(mock).toMatchObject({ active: 0, aborted: 1, finished: 1 });
    expect(await response.text()).toContain('"completion_reason":"Generation cancelled"');
  });

  it("refuses a request that was being started", async () => {
    const gate = Promise.withResolvers<void>();
    const mock = new MockGenerator(() => [gate.promise, ...saying("x")({})]);
    const { handler } = quiet(mock);
    const answer = handler(post("/v1/stream", PROMPT));
    await mock.until(() => mock.active === 1);
    await handler.drain();
    gate.resolve();
    expect((await answer).status).toBe(429);
    expect(mock.active).toBe(0);
  });
});

describe("createHandler() options", () => {
  it.each([
    { keepAliveMs: -1 },
    { keepAliveMs: NaN },
    { keepAliveMs: 2 ** 31 },
    { bodyBytesMax: 0 },
    { maxTokens: 0 },
    { maxTokens: 1.5 },
  ])("throws on %j", (options) => {
    expect(() => createHandler(new MockGenerator(), options)).toThrow("Cannot make the handler");
  });
});
