/** The infer dialect: its bytes, its fields, its GET form. */
import { describe, expect, it } from "bun:test";
import { EngineError, OverloadedError } from "../../src/errors.ts";
import { infer } from "../../src/server/dialects/infer.ts";
import type { CompleteEvent, TokenEvent } from "../../src/stream/event.ts";
import { SseFormatter } from "../../src/stream/formatter.ts";
import { complete, saying, type Script, START, token, usage } from "../support/mock_generator.ts";
import { get, jsonOf, post } from "../support/requests.ts";
import { serve, whole, withoutPreamble } from "../support/stream_requests.ts";

const PATH = "/v1/infer";
const EVENTS = { accept: "text/event-stream" };
/** Several ids in one event, a text held back, reasoning. */
const TOKENS = [
  token("hm", 1, { channel: "reasoning" }),
  token("", 2),
  token('é "\n', 3, { ids: [7, 8, 9] }),
];
const SCRIPT: Script = () => [START, ...TOKENS, usage(6), complete(6, "length")];
const broken: Script = () => [
  START,
  token("Hello", 1),
  { type: "error", code: "engine_error", message: "Cannot read /home/me/x", hints: [] },
];

/** What a stream says, without its preamble and ids. */
async function said(script: Script, fields: object): Promise<string> {
  const { handler } = serve(script);
  const { status, text } = await whole(handler, post(PATH, { prompt: "Hi", ...fields }));
  expect(status).toBe(200);
  return withoutPreamble(text).replaceAll(/^id: .*\n/gm, "");
}

describe("POST /v1/infer with stream", () => {
  it("writes the document's own bytes", async () => {
    expect(await said(saying("Hello", " world", "!"), { stream: true })).toBe(
      'data: {"token":"Hello"}\n\ndata: {"token":" world"}\n\ndata: {"token":"!"}\n\n' +
        "data: [DONE]\n\n",
    );
  });

  it.each([[false, false], [false, true], [true, false], [true, true]])(
    "writes what SseFormatter does, ids %j, completion %j",
    async (include_token_ids, include_complete) => {
      const formatter = new SseFormatter();
      formatter.includeTokenIds = include_token_ids;
      formatter.includeTiming = true;
      const tokens = TOKENS.map((each: TokenEvent) => formatter.formatToken(each)).join("");
      const end = formatter.formatComplete(complete(6, "length") as CompleteEvent);
      expect(await said(SCRIPT, { stream: true, include_token_ids, include_complete })).toBe(
        tokens + (include_complete ? end : "data: [DONE]\n\n"),
      );
    },
  );

  it("says null for the ids of a source that has none", async () => {
    const text = await said(() => [START, token("a", 1, { ids: [] }), complete(1)], {
      stream: true,
      include_token_ids: true,
    });
    expect(text).toBe('data: {"token":"a","token_id":null}\n\ndata: [DONE]\n\n');
  });

  it.each([
    ["fails", broken, "Cannot finish the generation: the engine failed"],
    [
      "is cancelled",
      (() => [START, token("Hello", 1), complete(1, "cancelled")]) as Script,
      "Cannot finish the generation: it was cancelled",
    ],
  ])("says an error and then [DONE] where it %s", async (_how, script, error) => {
    expect(await said(script, { stream: true, include_complete: true })).toBe(
      `data: {"token":"Hello"}\n\ndata: ${JSON.stringify({ error })}\n\ndata: [DONE]\n\n`,
    );
  });

  it("gives a late reader what was said so far", async () => {
    const { handler } = serve(SCRIPT);
    const { id } = await whole(handler, post(PATH, { prompt: "Hi", stream: true }));
    const { text } = await whole(handler, get(`/v1/streams/${id}?snapshot=true`));
    expect(text).toContain('data: {"token":"hmé \\"\\n"}\n\n');
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
  });
});

describe("POST /v1/infer without stream", () => {
  it("answers in one piece", async () => {
    const { handler, mock } = serve(SCRIPT);
    const { status, body } = await jsonOf(handler, post(PATH, { prompt: "Hi" }));
    expect(status).toBe(200);
    expect(body).toEqual({
      text: 'hmé "\n',
      token_ids: [101, 102, 7, 8, 9],
      finish_reason: "length",
      generated_tokens: 6,
      generation_time_ms: 70,
    });
    expect(mock.requests[0]).toMatchObject({ prompt: "Hi" });
  });

  it("takes messages and the sampling fields that all dialects share", async () => {
    const { handler, mock } = serve(SCRIPT);
    const messages = [{ role: "user", content: "Hi" }];
    const body = { messages, max_tokens: 3, temperature: 0, seed: 7, stop: "x", model: "any" };
    await jsonOf(handler, post(PATH, body));
    expect(mock.requests[0]).toEqual({
      messages,
      maxTokens: 3,
      sampling: { temperature: 0, seed: 7 },
      stop: ["x"],
    });
  });
});

describe("POST /v1/infer refuses", () => {
  it.each([
    [{}, "prompt"],
    [{ prompt: "Hi", messages: [{ role: "user", content: "Hi" }] }, "prompt"],
    [{ prompt: "" }, "prompt"],
    [{ prompt: "Hi", include_logprobs: true }, "include_logprobs"],
    [{ prompt: "Hi", include_token_ids: 1 }, "include_token_ids"],
    [{ prompt: "Hi", include_complete: "yes" }, "include_complete"],
    [{ prompt: "Hi", stream: "true" }, "stream"],
    [{ prompt: "Hi", temperature: 3 }, "temperature"],
  ])("%j by the name of the field %s", async (fields, field) => {
    const { handler, mock } = serve(SCRIPT);
    const { status, body } = await jsonOf(handler, post(PATH, fields));
    expect(status).toBe(400);
    expect(body["fields"]).toMatchObject([{ field }]);
    expect(body["error"]).toContain(field);
    expect(mock.requests.length).toBe(0);
  });

  it("to start where there is no room, with a time to wait", async () => {
    const { handler } = serve(() => [new OverloadedError("The queue is full", 2)]);
    const { status, headers, body } = await jsonOf(handler, post(PATH, { prompt: "Hi" }));
    expect(status).toBe(429);
    expect(headers.get("retry-after")).toBe("2");
    expect(body).toEqual({ error: "The queue is full" });
  });

  it("to tell more of a failure than its sentence", async () => {
    const { handler } = serve(() => [new EngineError("Cannot open /home/me/secret")]);
    const { status, body } = await jsonOf(handler, post(PATH, { prompt: "Hi", stream: true }));
    expect(status).toBe(500);
    expect(body).toEqual({ error: "Cannot finish the generation: the engine failed" });
  });
});

describe("GET /v1/infer", () => {
  const url = `${PATH}?prompt=42&stream=true&include_token_ids=true`;

  it("streams what its query asks for, the prompt as text", async () => {
    const { handler, mock } = serve(saying("a"));
    const { status, text } = await whole(handler, get(url, EVENTS));
    expect(status).toBe(200);
    expect(text).toContain('data: {"token":"a","token_id":101}\n\n');
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    expect(mock.requests[0]).toMatchObject({ prompt: "42", maxTokens: 512 });
  });

  it("streams without being told, because an EventSource reads nothing else", async () => {
    const { handler } = serve(saying("a"));
    const { text } = await whole(handler, get(`${PATH}?prompt=Hi`, EVENTS));
    expect(text).toContain('data: {"token":"a"}\n\n');
  });

  it("goes on after the last event id, and ends an EventSource that has it all", async () => {
    const { handler, mock } = serve(saying("a", "b"));
    const { id, text } = await whole(handler, get(url, EVENTS));
    const again = await whole(handler, get(url, { ...EVENTS, "last-event-id": `${id}:1` }));
    expect(again.text).not.toContain('"token":"a"');
    expect(again.text).toContain('"token":"b"');
    const last = /^id: (.*)\ndata: \[DONE\]/m.exec(text)?.[1] ?? "";
    expect((await handler(get(url, { ...EVENTS, "last-event-id": last }))).status).toBe(204);
    expect(mock.requests.length).toBe(1);
  });

  it("starts nothing for a request that does not ask for events", async () => {
    const { handler, mock } = serve(saying("a"));
    expect((await handler(get(url))).status).toBe(406);
    expect(mock.requests.length).toBe(0);
  });
});

describe("infer", () => {
  it("has one route, of its own name", () => {
    expect(infer.generates.map(({ name, path }) => [name, path])).toEqual([["infer", PATH]]);
  });
});
