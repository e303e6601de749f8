/** The Workers form: a relay in a Workers runtime, in front of a server of ours. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import OpenAI from "openai";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler } from "../../src/server/handler.ts";
import { OverloadedError, SluiceError } from "../../src/errors.ts";
import { endless, MockGenerator, saying } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";
import { hasWorkersRuntime, type RunningWorker, serveWorker } from "../support/workers_runtime.ts";

const messages = [{ role: "user" as const, content: "Hi" }];

/**
 * What workerd itself writes where a client resets its connection between two writes of a body. The
 * SDK leaves as soon as it has read `[DONE]`, and the end of the body is a write of its own that
 * comes after it. No code of ours runs between the two, and none could prevent it.
 */
const CLIENT_LEFT =
  /^workerd\S+: error: .* disconnected: ::writev?\(.*: Connection reset by peer\nstack: .*\n/gm;

describe.skipIf(!hasWorkersRuntime)("examples/workers.ts (needs workerd)", () => {
  const mock = new MockGenerator();
  let upstream: RunningServer;
  let worker: RunningWorker;
  let client: OpenAI;

  beforeAll(async () => {
    upstream = await serveHere(createHandler(mock, { onError: () => undefined }));
    worker = await serveWorker("examples/workers.ts", {
      UPSTREAM_URL: `${upstream.url}/v1`,
      UPSTREAM_MODEL: "mock",
      UPSTREAM_KEY: "secret",
    });
    client = new OpenAI({ baseURL: `${worker.url}/v1`, apiKey: "none", maxRetries: 0 });
  });
  afterAll(async () => {
    await worker.stop();
    await upstream.stop();
  });

  it("streams to an SDK and answers it in one piece", async () => {
    mock.script = saying("Hello", ", wörld", " 😀");
    const whole = await client.chat.completions.create({ model: "mock", messages });
    expect(whole.choices[0]?.message.content).toBe("Hello, wörld 😀");
    const stream = await client.chat.completions.create({
      model: "mock",
      messages,
      stream: true,
    });
    const chunks = await Array.fromAsync(stream);
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe(
      "Hello, wörld 😀",
    );
  });

  it.each([
    ["/v1/stream", { prompt: "Hi" }, "event: complete"],
    ["/v1/infer", { prompt: "Hi", stream: true }, "data: [DONE]"],
    ["/chat/stream", { prompt: "Hi" }, '"done":true'],
    ["/chat/completions", { messages }, "data: [DONE]"],
    ["/generate_stream", { inputs: "Hi" }, '"generated_text":"ab"'],
  ])("speaks the language of %s", async (path, body, end) => {
    mock.script = saying("a", "b");
    const response = await fetch(worker.url + path, {
      method: "POST",
      body: JSON.stringify(body),
    });
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    expect(await response.text()).toContain(end);
  });

  it("sends each token when it is there", async () => {
    const gate = Promise.withResolvers<void>();
    mock.script = (request) => {
      const [start, first, ...rest] = [...saying("a", "b")(request)];
      return [start!, first!, gate.promise, ...rest];
    };
    const response = await fetch(`${worker.url}/v1/stream`, {
      method: "POST",
      body: '{"prompt":"Hi"}',
    });
    const reader = response.body!.getReader();
    let text = "";
    while (!text.includes('"token":"a"')) {
      text += new TextDecoder().decode((await reader.read()).value);
    }
    expect(text).not.toContain('"token":"b"');
    gate.resolve();
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      text += new TextDecoder().decode(step.value);
    }
    expect(text).toContain("event: complete");
  });

  it("refuses with a status of its own", async () => {
    const bad = await fetch(`${worker.url}/v1/stream`, { method: "POST", body: "{}" });
    expect(bad.status).toBe(400);
    await bad.body?.cancel();
    mock.script = () => [new OverloadedError("full", 3)];
    const busy = await fetch(`${worker.url}/v1/stream`, {
      method: "POST",
      body: '{"prompt":"Hi"}',
    });
    expect([busy.status, busy.headers.get("retry-after")]).toEqual([429, "3"]);
    await busy.body?.cancel();
  });

  it("frees the generation of the upstream where its client leaves", async () => {
    mock.script = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));
    const abort = new AbortController();
    const response = await fetch(`${worker.url}/v1/stream`, {
      method: "POST",
      body: '{"prompt":"Hi"}',
      signal: abort.signal,
    });
    await response.body!.getReader().read();
    await mock.until(() => mock.active === 1);
    abort.abort();
    await mock.until(() => mock.active === 0);
  });

  it("logs no failure but the one that is meant", async () => {
    const meant = "Cannot go on: this is meant";
    mock.script = () => [new SluiceError(meant, "meant", 409)];
    const failed = await fetch(`${worker.url}/v1/stream`, {
      method: "POST",
      body: '{"prompt":"Hi"}',
    });
    expect(failed.status).toBe(500);
    await failed.body?.cancel();
    // It comes last, so all that was written before has been read once it is there.
    while (!worker.log().includes(meant)) await new Promise((resolve) => setTimeout(resolve, 1));
    const [before] = worker.log().replaceAll(CLIENT_LEFT, "").split(meant);
    expect(before).toBe("UpstreamError: Cannot start the generation: the upstream answered 409: ");
  });
});
