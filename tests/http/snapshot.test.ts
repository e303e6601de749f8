/** ?snapshot=true: a late reader gets what was said so far as one message, then what follows. */
import { describe, expect, it } from "bun:test";
import { complete, type Script, START, token, usage } from "../support/mock_generator.ts";
import { get, post } from "../support/requests.ts";
import { serve, whole, withoutPreamble } from "../support/stream_requests.ts";

const script: Script = () => [
  START,
  token("hm", 1, { channel: "reasoning" }),
  ...["a", "", "é"].map((text, i) => token(text, i + 2)),
  usage(4),
  complete(4),
];
const CHAT = { messages: [{ role: "user", content: "Hi" }], stream: true };

describe("GET /v1/streams/{id}?snapshot=true", () => {
  it("has text and ids of all tokens so far, and goes on after them", async () => {
    const { handler } = serve(script);
    const { id, text } = await whole(handler, post("/v1/stream", { prompt: "Hi" }));
    const late = await whole(handler, get(`/v1/streams/${id}?snapshot=true`));
    const [snapshot, ...rest] = withoutPreamble(late.text).split("\n\n");
    expect(snapshot).toBe(
      `id: ${id}:4\nevent: snapshot\n` +
        'data: {"text":"aé","token_ids":[101,102,103,104],"cumulative_time_ms":40,"position":4}',
    );
    expect(rest.join("\n\n")).toBe(text.slice(text.indexOf(`id: ${id}:6\n`)));
  });

  it("is one piece for each channel where the dialect is OpenAI's", async () => {
    const { handler } = serve(script);
    const { id } = await whole(handler, post("/v1/chat/completions", CHAT));
    const late = await whole(handler, get(`/v1/streams/${id}?snapshot=true`));
    const deltas = [...late.text.matchAll(/"delta":(\{.*?\})/g)].map(([, delta]) => delta);
    expect(deltas).toEqual([
      '{"role":"assistant","content":""}',
      '{"reasoning_content":"hm"}',
      '{"content":"aé"}',
      "{}",
    ]);
    expect(late.text).toContain(`id: ${id}:4.1\n`);
  });

  it("follows a stream that runs, from whatever it has said by then", async () => {
    const gate = Promise.withResolvers<void>();
    const { handler, mock } = serve(() => [
      START,
      token("a", 1),
      token("b", 2),
      gate.promise,
      token("c", 3),
      complete(3),
    ]);
    const response = await handler(post("/v1/stream", { prompt: "Hi" }));
    const id = response.headers.get("x-stream-id");
    const text = response.text();
    await mock.until(() => mock.events === 3);
    // The event was given out, and is published before anything else is waited for.
    await new Promise((resolve) => setTimeout(resolve, 1));
    const late = await handler(get(`/v1/streams/${id}?snapshot=true`));
    gate.resolve();
    expect(await late.text()).toMatch(/"text":"ab"[^]*"token":"c"[^]*event: complete/);
    expect(await text).toContain('"token":"c"');
  });

  it("is left out where a cursor says what the reader has", async () => {
    const { handler } = serve(script);
    const { id } = await whole(handler, post("/v1/stream", { prompt: "Hi" }));
    const late = await whole(handler, get(`/v1/streams/${id}?snapshot=true&from=3`));
    expect(late.text).not.toContain("snapshot");
    expect(late.text).toContain(`id: ${id}:4\nevent: token`);
  });
});
