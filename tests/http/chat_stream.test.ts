/** `/chat/stream`: its shapes for programs and for an EventSource, as JSON and as text. */
import { describe, expect, it } from "bun:test";
import { chatStream } from "../../src/server/dialects/chat_stream.ts";
import { parseSse } from "../../src/stream/sse.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { complete, saying, type Script, START, token } from "../support/mock_generator.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { ChunkReader, get, jsonOf, post } from "../support/requests.ts";
import { after, serve, whole, withoutPreamble } from "../support/stream_requests.ts";

const PATH = "/chat/stream";
const PROMPT = { prompt: "Hi" };
const URL_OF = `${PATH}?prompt=Hi`;
const EVENTS = { accept: "text/event-stream" };
const SCRIPT: Script = () => [
  START,
  token("hm", 1, { channel: "reasoning" }),
  token("", 2),
  token("one\n", 3, { ids: [7, 8] }),
  token(" two", 4),
  complete(4),
];
const BROKEN: StreamEvent = {
  type: "error",
  code: "engine_error",
  message: "Cannot read /home/me/secret.gguf",
  hints: [],
};
const ERROR = '{"error":"Cannot finish the generation: the engine failed"}';
const CANCELLED = '{"error":"Cannot finish the generation: it was cancelled"}';
const OPENING = "retry: 3000\n: ok\n\n";
const opening = (id: string): string => `retry: 3000\nid: ${id}:0\n: ok\n\n`;

describe("POST /chat/stream", () => {
  it("writes data alone, JSON with done", async () => {
    const { handler } = serve(SCRIPT);
    const { text } = await whole(handler, post(PATH, PROMPT));
    expect(text).toBe(
      OPENING + 'data: {"token":"one\\n","done":false}\n\ndata: {"token":" two","done":false}\n\n' +
        'data: {"token":"","done":true}\n\n',
    );
  });

  it("writes an error instead of the end", async () => {
    const { handler } = serve(() => [START, token("a", 1), BROKEN]);
    const { text } = await whole(handler, post(PATH, PROMPT));
    expect(text).toBe(`${OPENING}data: {"token":"a","done":false}\n\ndata: ${ERROR}\n\n`);
  });

  it.each(
    [
      ["Accept: text/plain", PATH, { accept: "text/plain" }],
      ["?format=text", `${PATH}?format=text`, {}],
    ] as const,
  )(
    "writes the text alone for %s, each line of it on its own, then [DONE]",
    async (_, url, headers) => {
      const { handler } = serve(SCRIPT);
      const response = await handler(post(url, PROMPT, headers));
      expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
      expect(await response.text()).toBe(
        `${OPENING}data: one\ndata: \n\ndata:  two\n\ndata: [DONE]\n\n`,
      );
    },
  );

  it("names an error among text, then [DONE]", async () => {
    const { handler } = serve(() => [START, token("a", 1), BROKEN]);
    const { text } = await whole(handler, post(`${PATH}?format=text`, PROMPT));
    expect(text).toBe(
      `${OPENING}data: a\n\nevent: error\ndata: ${ERROR}\n\ndata: [DONE]\n\n`,
    );
  });

  it("has pings, after the silence that the server is told", async () => {
    const gate = Promise.withResolvers<void>();
    const script: Script = () => [START, gate.promise, complete(0)];
    const { handler } = serve(script, { keepAliveMs: 5 });
    for (const request of [post(PATH, PROMPT), get(URL_OF, EVENTS)]) {
      const reader = new ChunkReader(await handler(request));
      expect(await reader.next()).toContain(": ok");
      expect(await reader.next()).toBe(": ping\n\n");
      expect(await reader.next()).toBe(": ping\n\n");
      await reader.cancel();
    }
    gate.resolve();
  });

  it("ends with an error where the server stops, though another could go on", async () => {
    const script: Script = () => [START, token("a", 1), new Promise(() => undefined)];
    const { handler, mock } = serve(script, { store: new MemoryStore() });
    const text = (await handler(post(PATH, PROMPT))).text();
    await mock.until(() => mock.events === 2);
    await handler.drain(1);
    expect(await text).toBe(
      `${OPENING}data: {"token":"a","done":false}\n\ndata: ${CANCELLED}\n\n`,
    );
  });
});

describe("GET /chat/stream", () => {
  it("writes the same data as events, with ids", async () => {
    const { handler } = serve(SCRIPT);
    const { id, text } = await whole(handler, get(URL_OF, EVENTS));
    expect(text).toBe(
      opening(id) +
        `id: ${id}:3\nevent: message\ndata: {"token":"one\\n","done":false}\n\n` +
        `id: ${id}:4\nevent: message\ndata: {"token":" two","done":false}\n\n` +
        `id: ${id}:5\nevent: done\ndata: {"token":"","done":true}\n\n`,
    );
  });

  it("writes an error as an event", async () => {
    const { handler } = serve(() => [START, token("a", 1), complete(1, "cancelled")]);
    const { id, text } = await whole(handler, get(URL_OF, EVENTS));
    expect(text).toBe(
      opening(id) + `id: ${id}:1\nevent: message\ndata: {"token":"a","done":false}\n\n` +
        `id: ${id}:2\nevent: error\ndata: ${CANCELLED}\n\n`,
    );
  });

  it("writes text as events, with ids, and an error before the end", async () => {
    const { handler, mock } = serve(SCRIPT);
    const url = `${URL_OF}&format=text`;
    const said = await whole(handler, get(url, EVENTS));
    expect(said.text).toBe(
      opening(said.id) + `id: ${said.id}:3\nevent: message\ndata: one\ndata: \n\n` +
        `id: ${said.id}:4\nevent: message\ndata:  two\n\n` +
        `id: ${said.id}:5\nevent: done\ndata: [DONE]\n\n`,
    );
    mock.script = () => [START, token("a", 1), BROKEN];
    const { id, text } = await whole(handler, get(url, EVENTS));
    expect(text).toContain(
      `id: ${id}:2.1\nevent: error\ndata: ${ERROR}\n\nid: ${id}:2\nevent: done\ndata: [DONE]\n\n`,
    );
  });

  it("is written in its own shape when it is resumed, from each id on", async () => {
    const { handler, mock } = serve(SCRIPT);
    for (const url of [URL_OF, `${URL_OF}&format=text`]) {
      const { text } = await whole(handler, get(url, EVENTS));
      const ids = [...text.matchAll(/^id: (.*)$/gm)].map(([, id]) => id!);
      expect(ids.length).toBe(4);
      for (const cursor of ids.slice(0, -1)) {
        const rest = await whole(handler, get(url, { ...EVENTS, "last-event-id": cursor }));
        expect(withoutPreamble(rest.text)).toBe(after(text, cursor));
      }
    }
    expect(mock.requests.length).toBe(2);
  });
});

describe("/chat/stream asks", () => {
  it("with the prompt or message as one user message, or with messages", async () => {
    const { handler, mock } = serve(saying("a"));
    const chat = [{ role: "system", content: "Be brief." }, { role: "user", content: "Hi" }];
    const requests = [
      post(PATH, { prompt: "Hi" }),
      post(PATH, { message: "Hi" }),
      post(PATH, { messages: chat }),
      get(`${PATH}?message=Hi`, EVENTS),
    ];
    for (const request of requests) await whole(handler, request);
    const one = [{ role: "user", content: "Hi" }];
    expect(mock.requests.map(({ messages }) => messages)).toEqual([one, one, chat, one]);
    expect(mock.requests.map(({ maxTokens }) => maxTokens)).toEqual([
      undefined,
      undefined,
      undefined,
      512,
    ]);
  });

  it.each(
    [
      [{}, "prompt", "got 0"],
      [{ prompt: null }, "prompt", "got 0"],
      [{ prompt: "a", message: "b" }, "message", "got 2"],
      [{ prompt: "a", messages: [{ role: "user", content: "b" }] }, "messages", "got 2"],
    ] as const,
  )("with exactly one of them: not %j", async (body, field, got) => {
    const { handler } = serve(saying("a"));
    const answer = await jsonOf(handler, post(PATH, body));
    expect(answer.status).toBe(400);
    expect(answer.body["fields"]).toMatchObject([{ field }]);
    expect(answer.body["error"]).toContain(
      `${field}: expected exactly one of prompt, message, messages, ${got}`,
    );
  });

  it("and hears of every bad field at once", async () => {
    const { handler } = serve(saying("a"));
    const wrong = { prompt: "", message: 1, temperature: -1, on_disconnect: "no" };
    const { body } = await jsonOf(handler, post(PATH, wrong));
    expect((body["fields"] as { field: string }[]).map(({ field }) => field).sort()).toEqual([
      "message",
      "message",
      "on_disconnect",
      "prompt",
      "temperature",
    ]);
  });
});

describe("the chat stream dialects", () => {
  const names = [...chatStream.generates, ...chatStream.speaks ?? []].map(({ name }) => name);

  it("read any stream, from any event on, each in its own shape", async () => {
    const { handler } = serve(saying("a", "b"));
    const { id } = await whole(handler, post("/v1/stream", PROMPT));
    expect(names).toEqual(["chat_stream", "chat_stream_text", "chat_events", "chat_events_text"]);
    for (const name of names) {
      const read = async (more: string) => {
        const response = await handler(get(`/v1/streams/${id}?dialect=${name}${more}`));
        const messages = [];
        for await (const message of parseSse(response.body!)) {
          if (message.data !== undefined) messages.push(message);
        }
        return messages;
      };
      const piece = (text: string) =>
        name.endsWith("text") ? text : JSON.stringify({ token: text, done: false });
      const whole = await read("");
      expect(whole.map(({ data }) => data).slice(0, 2)).toEqual([piece("a"), piece("b")]);
      expect(whole.length).toBe(3);
      expect(await read("&from=1")).toEqual(whole.slice(1));
      expect((await read("&snapshot=true"))[0]?.data).toBe(piece("ab"));
      const isNumbered = name.startsWith("chat_events");
      for (const message of whole) expect(message.id !== undefined).toBe(isNumbered);
      expect(whole.map(({ event }) => event)).toEqual(
        isNumbered ? ["message", "message", "done"] : [undefined, undefined, undefined],
      );
    }
  });
});
