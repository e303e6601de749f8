/** `/chat/completions`: bare frames of content, an error, `[DONE]`, or one piece. */
import { describe, expect, it } from "bun:test";
import { content } from "../../src/server/dialects/content.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { complete, endless, saying, type Script, START, token } from "../support/mock_generator.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { ChunkReader, get, jsonOf, post } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

const PATH = "/chat/completions";
const CHAT = { model: "any", messages: [{ role: "user", content: "Hi" }] };
const BROKEN: StreamEvent = {
  type: "error",
  code: "engine_error",
  message: "Cannot read /home/me/secret.gguf",
  hints: [],
};
const SENTENCE = "Cannot finish the generation: the engine failed";
const CANCELLED = "Cannot finish the generation: it was cancelled";

/** The data of each block; every block must be one `data: ` line and nothing else. */
function bare(text: string): string[] {
  const blocks = text.split("\n\n");
  expect(blocks.pop()).toBe("");
  for (const block of blocks) expect(block).toMatch(/^data: [^\n]+$/);
  return blocks.map((block) => block.slice("data: ".length));
}

describe("POST /chat/completions", () => {
  it("says the content of each token that has some, then [DONE], and nothing else", async () => {
    const script: Script = () => [
      START,
      token("hm", 1, { channel: "reasoning" }),
      token("", 2),
      token('é "\n', 3, { ids: [7, 8] }),
      token("[DONE]", 4),
      complete(4),
    ];
    const { handler } = serve(script);
    const { status, text } = await whole(handler, post(PATH, CHAT));
    expect(status).toBe(200);
    expect(text).toBe(
      'data: {"content":"é \\"\\n"}\n\ndata: {"content":"[DONE]"}\n\ndata: [DONE]\n\n',
    );
  });

  it("streams unless stream is false, and then answers with all of it", async () => {
    const { handler } = serve(saying("a", "b"));
    for (const stream of [undefined, null, true]) {
      const response = await handler(post(PATH, { ...CHAT, stream }));
      expect(response.headers.get("content-type")).toContain("text/event-stream");
      expect(bare(await response.text()).at(-1)).toBe("[DONE]");
    }
    const answer = await jsonOf(handler, post(PATH, { ...CHAT, stream: false }));
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.body).toEqual({ content: "ab" });
  });

  it("says an error and then [DONE]", async () => {
    const { handler } = serve(() => [START, token("a", 1), BROKEN]);
    const { text } = await whole(handler, post(PATH, CHAT));
    expect(bare(text)).toEqual([
      '{"content":"a"}',
      JSON.stringify({ error: SENTENCE }),
      "[DONE]",
    ]);
  });

  it("says of an answer that was stopped that it is not whole", async () => {
    const { handler } = serve(() => [START, token("a", 1), complete(1, "cancelled")]);
    const { text } = await whole(handler, post(PATH, CHAT));
    expect(bare(text).slice(1)).toEqual([JSON.stringify({ error: CANCELLED }), "[DONE]"]);
  });

  it("stays silent while others hear a preamble and pings", async () => {
    const gate = Promise.withResolvers<void>();
    const script: Script = () => [START, gate.promise, token("a", 1), complete(1)];
    const { handler } = serve(script, { keepAliveMs: 5 });
    const response = await handler(post(PATH, CHAT));
    const id = response.headers.get("x-stream-id");
    const other = new ChunkReader(await handler(get(`/v1/streams/${id}`)));
    const text = response.text();
    const native = new ChunkReader(await handler(get(`/v1/streams/${id}?dialect=native`)));
    expect(await native.next()).toContain(": ok");
    for (let pings = 0; pings < 3; pings++) expect(await native.next()).toBe(": ping\n\n");
    gate.resolve();
    expect(await text).toBe('data: {"content":"a"}\n\ndata: [DONE]\n\n');
    // Whoever reads it by its id hears the same.
    expect(await other.next()).toBe('data: {"content":"a"}\n\n');
    await Promise.all([native.cancel(), other.cancel()]);
  });

  it("tells no comment where a store fails", async () => {
    const store = new MemoryStore();
    store.append = () => Promise.reject(new Error("no disk"));
    const { handler, failures } = serve(saying("a", "b"), { store });
    const { text } = await whole(handler, post(PATH, CHAT));
    expect(bare(text)).toEqual(['{"content":"a"}', '{"content":"b"}', "[DONE]"]);
    expect(failures.length).toBeGreaterThan(0);
  });

  it("ends with an error and [DONE] where the server stops, though another could go on", async () => {
    const script: Script = function* () {
      yield START;
      yield token("a", 1);
      yield new Promise(() => undefined);
    };
    const { handler, mock } = serve(script, { store: new MemoryStore() });
    const text = (await handler(post(PATH, CHAT))).text();
    await mock.until(() => mock.events === 2);
    await handler.drain(1);
    expect(bare(await text)).toEqual([
      '{"content":"a"}',
      JSON.stringify({ error: CANCELLED }),
      "[DONE]",
    ]);
  });

  it("hands the request's options on", async () => {
    const { handler, mock } = serve(saying("a"));
    await whole(handler, post(PATH, { ...CHAT, temperature: 0.5, max_tokens: 7, seed: 1 }));
    expect(mock.requests).toEqual([{
      messages: CHAT.messages,
      maxTokens: 7,
      sampling: { temperature: 0.5, seed: 1 },
    }]);
  });

  it("names every bad field at once, in a sentence and one by one", async () => {
    const { handler, mock } = serve(saying("a"));
    const wrong = { model: 1, messages: [], temperature: 9, max_tokens: 0, stream: "yes" };
    const { status, body } = await jsonOf(handler, post(PATH, wrong));
    expect(status).toBe(400);
    const fields = body["fields"] as { field: string; message: string }[];
    expect(fields.map(({ field }) => field).sort()).toEqual(Object.keys(wrong).sort());
    for (const { field, message } of fields) {
      expect(body["error"]).toContain(`${field}: ${message}`);
    }
    expect(mock.requests).toEqual([]);
  });

  it("cancels a generation that nobody reads", async () => {
    const { handler, mock } = serve(endless());
    const reader = new ChunkReader(await handler(post(PATH, CHAT)));
    expect(await reader.next()).toBe('data: {"content":" t1"}\n\n');
    await reader.cancel();
    await mock.until(() => mock.active === 0);
    expect(mock.aborted).toBe(1);
  });
});

describe("the content dialect", () => {
  it("reads a stream that another route made, from any event on", async () => {
    const { handler } = serve(saying("a", "b", "c"));
    const { id } = await whole(handler, post("/v1/stream", { prompt: "Hi" }));
    const read = async (more: string) =>
      bare((await whole(handler, get(`/v1/streams/${id}?dialect=content${more}`))).text);
    expect(await read("")).toEqual(
      [..."abc"].map((text) => `{"content":"${text}"}`).concat("[DONE]"),
    );
    expect(await read("&from=2")).toEqual(['{"content":"c"}', "[DONE]"]);
    expect(await read("&snapshot=true")).toEqual(['{"content":"abc"}', "[DONE]"]);
  });

  it("is not heard in binary frames, which begin as they must", async () => {
    const { handler } = serve(saying("a", "b"));
    const { id } = await whole(handler, post(PATH, CHAT));
    const read = async (name: string) => {
      const headers = { accept: "application/octet-stream" };
      const response = await handler(get(`/v1/streams/${id}?dialect=${name}`, headers));
      return new Uint8Array(await response.arrayBuffer());
    };
    expect(await read("content")).toEqual(await read("native"));
  });

  it("says refusals in its own words", () => {
    const told = { status: 429, code: "overloaded", message: "busy", fields: [], hints: ["h"] };
    expect(content.errorBody(told)).toEqual({ error: "busy" });
  });
});
