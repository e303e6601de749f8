/** A relay in front of a server of ours, each on a port of its own, through every dialect. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import process from "node:process";
import { OverloadedError, RequestError } from "../../src/errors.ts";
import { relay } from "../../src/relay/mod.ts";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { Routes } from "../../src/server/routes.ts";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { MemoryStore } from "../support/memory_store.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";
import { after, withoutPreamble } from "../support/stream_requests.ts";

const TEXTS = ["Hello", ", wörld", " 😀\n", "!"];
const messages = [{ role: "user", content: "Hi" }];
/** What each language is asked by for a stream. */
const ASK: Readonly<Record<string, object>> = {
  native: { prompt: "Hi" },
  openai: { messages, stream: true },
  openai_completions: { prompt: "Hi", stream: true },
  content: { messages },
  chat_stream: { prompt: "Hi" },
  infer: { prompt: "Hi", stream: true },
  tgi: { inputs: "Hi" },
  tgi_root: { inputs: "Hi", stream: true },
};
/** What each is asked by for an answer in one piece, and where its text is. */
const WHOLE: Readonly<Record<string, [body: object, text: RegExp]>> = {
  openai: [{ messages }, /"content":("(?:[^"\\]|\\.)*")/],
  openai_completions: [{ prompt: "Hi" }, /"text":("(?:[^"\\]|\\.)*")/],
  content: [{ messages, stream: false }, /"content":("(?:[^"\\]|\\.)*")/],
  infer: [{ prompt: "Hi" }, /"text":("(?:[^"\\]|\\.)*")/],
  tgi_generate: [{ inputs: "Hi" }, /"generated_text":("(?:[^"\\]|\\.)*")/],
};

const routes = [...new Routes().paths].map(([path, { route }]) => [route.name, path] as const);
const failures: unknown[] = [];
const onError = (failure: unknown): void => void failures.push(failure);

let mock: MockGenerator;
let upstream: RunningServer;
let front: RunningServer;
let handler: Handler;

beforeAll(async () => {
  mock = new MockGenerator(saying(...TEXTS));
  upstream = await serveHere(createHandler(mock, { onError }));
  const baseURL = `${upstream.url}/v1`;
  handler = createHandler(relay({ baseURL, model: "mock" }), { onError });
  front = await serveHere(handler);
});
afterAll(async () => {
  await front.stop();
  await upstream.stop();
});

function post(path: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(front.url + path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** The texts of a stream, whatever a dialect calls them. */
function textsOf(stream: string): string {
  const pieces = stream.matchAll(/"(?:token|content|text)":("(?:[^"\\]|\\.)*")/g);
  return [...pieces].map(([, piece]) => JSON.parse(piece!) as string).join("");
}

describe("a relay in front of a server", () => {
  it("is asked in every language that there is", () => {
    const asked = [...Object.keys(ASK), ...Object.keys(WHOLE)];
    for (const [name] of routes) expect(asked).toContain(name);
  });

  for (const [name, path] of routes.filter(([name]) => ASK[name] !== undefined)) {
    it(`streams ${name} with the texts of the upstream, and again to whoever comes back`, async () => {
      mock.script = saying(...TEXTS);
      const response = await post(path, ASK[name]!);
      expect(response.status).toBe(200);
      const id = response.headers.get("x-stream-id")!;
      const text = await response.text();
      expect(textsOf(text)).toBe(TEXTS.join(""));
      const cursors = [...text.matchAll(/^id: (.*)$/gm)].map(([, cursor]) => cursor!);
      for (const cursor of cursors.slice(0, -1)) {
        const url = `${front.url}/v1/streams/${id}`;
        const again = await fetch(url, { headers: { "last-event-id": cursor } });
        expect(withoutPreamble(await again.text())).toBe(after(text, cursor));
      }
    });
  }

  for (const [name, path] of routes.filter(([name]) => WHOLE[name] !== undefined)) {
    it(`answers ${name} in one piece`, async () => {
      mock.script = saying(...TEXTS);
      const [body, pattern] = WHOLE[name]!;
      const response = await post(path, body);
      const [, text = '""'] = pattern.exec(await response.text()) ?? [];
      expect(JSON.parse(text)).toBe(TEXTS.join(""));
    });
  }

  it("passes on what was asked, and tells what was used", async () => {
    mock.script = saying("a");
    const seen = mock.requests.length;
    const options = { temperature: 0.5, top_k: 3, max_tokens: 4, seed: 5, stop: ["x"] };
    const response = await post("/v1/chat/completions", { messages, ...options });
    const { usage } = await response.json();
    expect(usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 1 });
    expect(mock.requests[seen]).toEqual({
      messages,
      maxTokens: 4,
      stop: ["x"],
      sampling: { temperature: 0.5, topK: 3, seed: 5 },
    });
  });
});

describe("a relay whose upstream has no room or will not", () => {
  it.each([
    [new OverloadedError("full", 9), 429, "overloaded"],
    [
      new RequestError("Cannot do that", [{ field: "top_k", message: "no" }]),
      400,
      "Cannot do that",
    ],
    [new Error("died"), 500, "upstream_error"],
  ])("answers with a status of its own: %#", async (thrown, status, said) => {
    mock.script = () => [thrown];
    const response = await post("/v1/chat/completions", { messages, stream: true });
    expect(response.status).toBe(status);
    expect(await response.text()).toContain(said);
    if (status === 429) expect(response.headers.get("retry-after")).toBe("9");
  });

  it("ends the stream with one error where the upstream breaks off", async () => {
    mock.script = () => [
      START,
      token("a", 1),
      { type: "error", code: "engine_error", message: "x", hints: [] },
    ];
    const text = await (await post("/v1/stream", { prompt: "Hi" })).text();
    expect(text.match(/^event: .*$/gm)).toEqual(["event: token", "event: error"]);
    expect(text).toContain('"error_type":"generation"');
    expect(text).toContain("the server behind this one failed");
  });

  it("cuts an answer in one piece that breaks off, as any generator's", async () => {
    mock.script = () => [START, token("a", 1), new Error("died")];
    const text = post("/v1/chat/completions", { messages }).then((response) => response.text());
    expect(await text.then(() => "whole", () => "cut")).toBe("cut");
  });
});

describe("a relay whose client leaves", () => {
  const steady = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));

  it("frees the generation of the upstream", async () => {
    mock.script = steady;
    const abort = new AbortController();
    const response = await fetch(`${front.url}/v1/stream`, {
      method: "POST",
      body: '{"prompt":"Hi"}',
      signal: abort.signal,
    });
    const reader = response.body!.getReader();
    for (let text = ""; !text.includes("token");) {
      text += new TextDecoder().decode((await reader.read()).value);
    }
    expect(mock.active).toBe(1);
    abort.abort();
    await mock.until(() => mock.active === 0);
  });

  it("stops it where the stream is stopped, with a terminal event for its readers", async () => {
    mock.script = steady;
    const response = await post("/v1/stream", { prompt: "Hi" });
    const id = response.headers.get("x-stream-id");
    const text = response.text();
    await mock.until(() => mock.active === 1);
    await fetch(`${front.url}/v1/streams/${id}`, { method: "DELETE" });
    expect(await text).toContain('"completed_normally":false');
    await mock.until(() => mock.active === 0);
  });

  it("refuses to change how it goes on, which the upstream cannot do", async () => {
    mock.script = steady;
    const response = await post("/v1/stream", { prompt: "Hi" });
    const url = `${front.url}/v1/streams/${response.headers.get("x-stream-id")}`;
    const body = '{"action":"extend","max_tokens":9}';
    const changed = await fetch(`${url}/control`, { method: "POST", body });
    expect(changed.status).toBe(409);
    await changed.body?.cancel();
    await response.body?.cancel();
    await mock.until(() => mock.active === 0);
  });

  it("makes the upstream wait while nobody reads", async () => {
    mock.script = endless();
    const before = mock.events;
    const response = await post("/v1/stream", { prompt: "Hi" });
    let last = -1;
    // Whatever the sockets hold fills up; then nothing more is generated.
    while (last !== mock.events) {
      last = mock.events;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(mock.active).toBe(1);
    expect(mock.events - before).toBeLessThan(200_000);
    await response.body?.cancel();
    await mock.until(() => mock.active === 0);
  });
});

describe("a relayed stream in a store", () => {
  const SCRIPT: Script = () => [START, token("a", 1), token("b", 2), usage(2), complete(2)];
  const make = (store: MemoryStore): Handler =>
    createHandler(relay({ baseURL: `${upstream.url}/v1`, model: "mock" }), { onError, store });
  const request = (path: string, init?: RequestInit) =>
    new Request(`http://localhost${path}`, init);

  it("is read again by another process, and not asked of the upstream again", async () => {
    mock.script = SCRIPT;
    const store = new MemoryStore();
    const made = await make(store)(
      request("/v1/stream", { method: "POST", body: '{"prompt":"Hi"}' }),
    );
    const text = await made.text();
    const seen = mock.requests.length;
    const again = await make(store)(request(`/v1/streams/${made.headers.get("x-stream-id")}`));
    expect(await again.text()).toBe(text);
    expect(mock.requests.length).toBe(seen);
  });

  it("ends with an error where its process was lost in the middle", async () => {
    mock.script = SCRIPT;
    const store = new MemoryStore();
    const made = await make(store)(
      request("/v1/stream", { method: "POST", body: '{"prompt":"Hi"}' }),
    );
    await made.text();
    const id = made.headers.get("x-stream-id")!;
    store.events.get(id)!.splice(2);
    const text = await (await make(store)(request(`/v1/streams/${id}`))).text();
    expect(text.match(/^event: .*$/gm)).toEqual(["event: token", "event: error"]);
    expect(text).toContain("the process that relayed it is lost");
  });
});

describe("examples/relay.ts", () => {
  it("relays to the address that it is told", async () => {
    mock.script = saying(...TEXTS);
    process.env["UPSTREAM_URL"] = `${upstream.url}/v1`;
    const { default: server } = await import("../../examples/relay.ts");
    const request = new Request("http://localhost/chat/stream", {
      method: "POST",
      body: '{"prompt":"Hi"}',
    });
    expect(textsOf(await (await server.fetch(request)).text())).toBe(TEXTS.join(""));
  });
});
