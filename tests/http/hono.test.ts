/** The handler inside a Hono app, beside routes and middleware of the app's own. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler } from "../../src/server/handler.ts";
import { endless, MockGenerator, saying } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";
import { withoutPreamble } from "../support/stream_requests.ts";

const mock = new MockGenerator();
const handler = createHandler(mock, { onError: () => undefined });
const app = new Hono();
app.use("/v1/*", async (c, next) => {
  await next();
  c.header("x-app", "ours");
});
app.get("/", (c) => c.text("hello"));
app.post("/own", (c) => streamSSE(c, (stream) => stream.writeSSE({ data: "own" })));
app.all("/v1/*", (c) => handler(c.req.raw));
app.all("/chat/*", (c) => handler(c.req.raw));

const body = '{"prompt":"Hi"}';

describe("createHandler() in a Hono app", () => {
  let server: RunningServer;
  beforeAll(async () => {
    const mounted = Object.assign(
      (request: Request) => Promise.resolve(app.fetch(request)),
      { drain: handler.drain, streams: handler.streams },
    );
    server = await serveHere(mounted);
  });
  afterAll(() => server.stop());
  const post = (path: string, init: RequestInit = {}) =>
    fetch(server.url + path, { method: "POST", body, ...init });

  it("answers beside the app's own routes, through its middleware", async () => {
    mock.script = saying("a", "b");
    expect(await (await fetch(server.url)).text()).toBe("hello");
    expect(await (await post("/own")).text()).toBe("data: own\n\n");
    const response = await post("/v1/stream");
    expect(response.headers.get("x-app")).toBe("ours");
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect((await response.text()).match(/^event: .*$/gm)).toEqual([
      "event: token",
      "event: token",
      "event: complete",
    ]);
    const chat = await post("/chat/stream");
    expect(await chat.text()).toContain('data: {"token":"a","done":false}\n\n');
  });

  it("resumes a stream by its ids", async () => {
    mock.script = saying("a", "b");
    const made = await post("/v1/stream");
    const text = await made.text();
    const id = made.headers.get("x-stream-id");
    const headers = { "last-event-id": `${id}:1` };
    const rest = await (await fetch(`${server.url}/v1/streams/${id}`, { headers })).text();
    expect(text.endsWith(withoutPreamble(rest))).toBe(true);
    expect(rest.match(/^event: .*$/gm)).toEqual(["event: token", "event: complete"]);
  });

  it("frees the generation where the client leaves", async () => {
    mock.script = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));
    const abort = new AbortController();
    const response = await post("/v1/stream", { signal: abort.signal });
    await response.body!.getReader().read();
    await mock.until(() => mock.active === 1);
    abort.abort();
    await mock.until(() => mock.active === 0);
  });
});
