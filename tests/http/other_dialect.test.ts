/** One stream, many readers, each in its own language, whichever route made it. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../src/server/handler.ts";
import { MemoryStore } from "../support/memory_store.ts";
import {
  complete,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { get, jsonOf, post, transcript } from "../support/requests.ts";
import { after, serve, whole, withoutPreamble } from "../support/stream_requests.ts";

const MESSAGES = [{ role: "user", content: "Hi" }];
/** What each language is asked by, without options of its own. */
const BODIES = {
  native: ["/v1/stream", { prompt: "Hi" }],
  openai: ["/v1/chat/completions", { messages: MESSAGES, stream: true }],
  openai_completions: ["/v1/completions", { prompt: "Hi", stream: true }],
} as const;
type Name = keyof typeof BODIES;
const NAMES = Object.keys(BODIES) as Name[];
const ask = (name: Name): Request => post(...BODIES[name] as [string, object]);
/** Several ids in one event, a text held back, reasoning: what the languages say differently. */
const SCRIPT: Script = () => [
  START,
  token("", 1, { channel: "reasoning" }),
  token("hm", 2, { channel: "reasoning" }),
  token("é\n", 3, { ids: [7, 8] }),
  token("😀", 4),
  usage(5),
  complete(5),
];
const idsOf = (text: string): string[] => [...text.matchAll(/^id: (.*)$/gm)].map(([, id]) => id!);

describe("GET /v1/streams/{id}?dialect=", () => {
  for (const made of NAMES) {
    for (const read of NAMES) {
      it(`says of a stream made as ${made} what ${read} would have said, from each id on`, async () => {
        const { handler, mock } = serve(SCRIPT);
        const { id } = await whole(handler, ask(made));
        const url = `/v1/streams/${id}?dialect=${read}`;
        const { text } = await whole(handler, get(url));
        expect(await transcript(await handler(get(url))))
          .toBe(await transcript(await handler(ask(read))));
        expect(mock.requests.length).toBe(2);
        const ids = idsOf(text);
        expect(ids.length).toBeGreaterThan(4);
        for (const cursor of ids.slice(0, -1)) {
          const rest = await whole(handler, get(url, { "last-event-id": cursor }));
          expect(withoutPreamble(rest.text)).toBe(after(text, cursor));
        }
        expect((await handler(get(url, { "last-event-id": ids.at(-1)! }))).status).toBe(204);
      });
    }
  }

  it("goes on in another language after any whole event of the first", async () => {
    const { handler } = serve(saying("a", "b", "c"));
    const { id } = await whole(handler, ask("native"));
    const url = `/v1/streams/${id}?dialect=openai`;
    const { text } = await whole(handler, get(url, { "last-event-id": `${id}:2` }));
    expect([...text.matchAll(/"content":"(.*?)"/g)].map(([, piece]) => piece)).toEqual(["c"]);
    expect(text).toContain("data: [DONE]");
  });

  it("serves readers of one running generation, each in its own language", async () => {
    const gate = Promise.withResolvers<void>();
    const { handler, mock } = serve(() => [START, token("a", 1), gate.promise, complete(1)]);
    const first = await handler(ask("openai"));
    const id = first.headers.get("x-stream-id");
    const others = await Promise.all(
      NAMES.map((name) => handler(get(`/v1/streams/${id}?dialect=${name}`))),
    );
    gate.resolve();
    const [own, native, openai, completions] = await Promise.all(
      [first, ...others].map((response) => response.text()),
    );
    expect(openai).toBe(own!);
    expect(native).toContain('event: token\ndata: {"token":"a"');
    expect(completions).toContain('"object":"text_completion"');
    expect(mock.requests.length).toBe(1);
  });

  it("keeps to the options of the request in the language of its route only", async () => {
    const { handler } = serve(SCRIPT);
    const [path, body] = BODIES.openai;
    const asked = { ...body, stream_options: { include_usage: true } };
    const { id, text } = await whole(handler, post(path, asked));
    const read = async (name: string) =>
      (await whole(handler, get(`/v1/streams/${id}?dialect=${name}`))).text;
    expect(await read("openai")).toBe(text);
    expect(text).toContain('"choices":[],"usage"');
    expect(await read("openai_completions")).not.toContain('"usage"');
  });

  it("streams what was asked for in one piece", async () => {
    const { handler } = serve(saying("a", "b"));
    const [path, body] = BODIES.openai;
    const response = await handler(post(path, { ...body, stream: false }));
    const id = response.headers.get("x-stream-id");
    const { choices } = await response.json();
    expect(choices[0].message.content).toBe("ab");
    const native = await handler(get(`/v1/streams/${id}?dialect=native`));
    expect(native.headers.get("content-type")).toContain("text/event-stream");
    expect((await native.text()).match(/event: token/g)?.length).toBe(2);
    const openai = await whole(handler, get(`/v1/streams/${id}?dialect=openai&snapshot=true`));
    expect(openai.text).toContain('"delta":{"content":"ab"}');
  });

  it("gives a snapshot in that language", async () => {
    const { handler } = serve(saying("a", "b"));
    const { id } = await whole(handler, ask("native"));
    const { text } = await whole(handler, get(`/v1/streams/${id}?snapshot=true&dialect=openai`));
    expect(text).toContain('"delta":{"role":"assistant","content":""}');
    expect(text).toContain('"delta":{"content":"ab"}');
  });

  it("writes lines of JSON in that language, and the same frames in every one", async () => {
    const { handler } = serve(saying("a", "b"));
    const { id } = await whole(handler, ask("native"));
    const read = async (name: string, accept: string) => {
      const url = `/v1/streams/${id}?dialect=${name}`;
      return new Uint8Array(await (await handler(get(url, { accept }))).arrayBuffer());
    };
    const lines = new TextDecoder().decode(await read("openai", "application/x-ndjson"));
    expect(lines.trim().split("\n").at(-1)).toBe(`{"id":"${id}:4","data":"[DONE]"}`);
    const frames = await read("openai", "application/octet-stream");
    expect(frames).toEqual(await read("native", "application/octet-stream"));
  });

  it("refuses an unknown name with 400 and the known ones, whether the stream is there or not", async () => {
    const { handler } = serve(saying("a"));
    const { id } = await whole(handler, ask("native"));
    for (const stream of [id, "0".repeat(32)]) {
      for (const name of ["klingon", "", "__proto__", "OpenAI"]) {
        const { status, body } = await jsonOf(
          handler,
          get(`/v1/streams/${stream}?dialect=${name}`),
        );
        expect(status).toBe(400);
        expect(body).toMatchObject({ error_type: "validation", fields: [{ field: "dialect" }] });
        expect(body["message"]).toMatch(/expected one of .*native, .*openai, openai_completions/);
      }
    }
  });

  it("still knows no stream of another key", async () => {
    const { handler } = serve(saying("a"));
    const [path, body] = BODIES.native;
    const { id } = await whole(handler, post(path, body, { authorization: "Bearer one" }));
    expect((await handler(get(`/v1/streams/${id}?dialect=openai`))).status).toBe(404);
  });

  it("says in that language that the server stops", async () => {
    const script: Script = function* () {
      yield START;
      yield token("a", 1);
      yield new Promise(() => undefined);
    };
    const { handler, mock } = serve(script, { store: new MemoryStore() });
    const response = await handler(ask("native"));
    const id = response.headers.get("x-stream-id");
    const texts = Promise.all([
      response.text(),
      (await handler(get(`/v1/streams/${id}?dialect=openai`))).text(),
    ]);
    await mock.until(() => mock.events === 2);
    await handler.drain(1);
    const [native, openai] = await texts;
    expect(native).toMatch(/retry: 1000\nevent: shutdown\ndata: \{\}\n\n$/);
    expect(openai).toMatch(/retry: 1000\n: shutdown\n\n$/);
  });

  it("reads a stream of another process", async () => {
    const store = new MemoryStore();
    const { id } = await whole(serve(SCRIPT, { store }).handler, ask("native"));
    const next = createHandler(new MockGenerator(() => [new Error("not asked")]), { store });
    const { text } = await whole(next, get(`/v1/streams/${id}?dialect=openai`));
    expect(text).toContain('"delta":{"reasoning_content":"hm"}');
    expect(text).toContain(`"id":"chatcmpl-${id}"`);
  });
});
