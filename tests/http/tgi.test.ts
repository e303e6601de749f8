/** The TGI dialect: its bytes, its fields, its own defaults. */
import { describe, expect, it } from "bun:test";
import {
  ContextFullError,
  EngineError,
  OverloadedError,
  SluiceError,
  UpstreamError,
} from "../../src/errors.ts";
import { tgi } from "../../src/server/dialects/tgi.ts";
import { readRequest } from "../../src/server/dialects/tgi_request.ts";
import { complete, saying, type Script, START, token, usage } from "../support/mock_generator.ts";
import { get, jsonOf, post } from "../support/requests.ts";
import { serve, whole, withoutPreamble } from "../support/stream_requests.ts";

/** Several ids in one event, a text held back. */
const SCRIPT: Script = () => [
  START,
  token("", 1),
  token("é", 2, { ids: [7, 8] }),
  usage(4),
  complete(4),
];
const ended = (reason: "stop" | "length" | "cancelled"): Script => () => [
  START,
  token("a", 1),
  complete(1, reason),
];
const broken: Script = () => [
  START,
  token("a", 1),
  { type: "error", code: "engine_error", message: "Cannot read /home/me/x", hints: [] },
];

/** What a stream says, without its preamble. */
async function said(script: Script, parameters: object = {}): Promise<string> {
  const { handler } = serve(script);
  const request = post("/generate_stream", { inputs: "Hi", parameters });
  return withoutPreamble((await whole(handler, request)).text);
}

describe("POST /generate_stream", () => {
  it("says every token with its id, and all of the text with the last", async () => {
    const piece = (index: number, id: number, text: string) =>
      `data: {"index":${index},"token":{"id":${id},"text":"${text}","logprob":null,` +
      `"special":false},"generated_text":null,"details":null}\n\n`;
    expect(await said(SCRIPT)).toBe(
      piece(1, 101, "") + piece(2, 7, "") + piece(3, 8, "é") +
        'data: {"index":4,"token":{"id":8,"text":"","logprob":null,"special":true},' +
        '"generated_text":"é","details":null}\n\n',
    );
  });

  it.each(
    [
      [SCRIPT, "eos_token", 4],
      [ended("stop"), "stop_sequence", 1],
      [ended("length"), "length", 1],
    ] as const,
  )("says with details how it ended: %#", async (script, finish_reason, generated_tokens) => {
    const text = await said(script, { details: true, do_sample: true, seed: 9 });
    const details = { finish_reason, generated_tokens, seed: 9, input_length: 5 };
    expect(text).toMatch(/\}\n\n$/);
    expect(text).toContain(`"details":${JSON.stringify(details)}}\n\n`);
  });

  it("says no seed where nothing was drawn", async () => {
    expect(await said(SCRIPT, { details: true, seed: 9 })).toContain('"seed":null');
  });

  it("begins the text with the prompt where that is asked for", async () => {
    expect(await said(SCRIPT, { return_full_text: true })).toContain('"generated_text":"Hié"');
  });

  it.each([
    [broken, "Cannot finish the generation: the engine failed", "generation"],
    [ended("cancelled"), "Cannot finish the generation: it was cancelled", "incomplete_generation"],
  ])("ends with an error that has a type: %#", async (script, error, error_type) => {
    const text = await said(script);
    expect(text.split("\n\n").length).toBe(3);
    expect(text).toContain(`\n\ndata: ${JSON.stringify({ error, error_type })}\n\n`);
  });

  it("says all of the text to a reader that comes back in the middle", async () => {
    const { handler } = serve(saying("a", "b", "c"));
    const { id } = await whole(handler, post("/v1/stream", { prompt: "Hi" }));
    const url = `/v1/streams/${id}?dialect=tgi`;
    const all = withoutPreamble((await whole(handler, get(url))).text).split("\n\n");
    for (let seq = 0; seq <= 3; seq++) {
      const { text } = await whole(handler, get(url, { "last-event-id": `${id}:${seq}` }));
      expect(withoutPreamble(text).split("\n\n")).toEqual(all.slice(seq));
    }
    const late = await whole(handler, get(`${url}&snapshot=true`));
    expect(late.text).toContain('"generated_text":"abc"');
    expect(late.text.match(/data:/g)?.length).toBe(4);
  });
});

describe("POST /generate and POST /", () => {
  it("answers in one piece, without details", async () => {
    const { handler, mock } = serve(SCRIPT);
    const { status, body } = await jsonOf(handler, post("/generate", { inputs: "Hi" }));
    expect(status).toBe(200);
    expect(body).toEqual({ generated_text: "é" });
    expect(mock.requests[0]).toEqual({ prompt: "Hi", sampling: { temperature: 0 } });
  });

  it("says with details every token as the stream does", async () => {
    const { handler } = serve(SCRIPT);
    const asked = { inputs: "Hi", parameters: { details: true } };
    const { body } = await jsonOf(handler, post("/generate", asked));
    const of = (id: number, text: string) => ({ id, text, logprob: null, special: false });
    expect(body["details"]).toEqual({
      finish_reason: "eos_token",
      generated_tokens: 4,
      seed: null,
      prefill: [],
      tokens: [of(101, ""), of(7, ""), of(8, "é")],
    });
  });

  it("answers / with an array, or as a stream where that is asked for", async () => {
    const { handler } = serve(SCRIPT);
    const { body } = await jsonOf(handler, post("/", { inputs: "Hi" }));
    expect(body).toEqual([{ generated_text: "é" }] as unknown as Record<string, unknown>);
    const { text } = await whole(handler, post("/", { inputs: "Hi", stream: true }));
    expect(withoutPreamble(text)).toBe(await said(SCRIPT));
  });
});

describe("readRequest()", () => {
  const samplingOf = (parameters: object, more: object = {}) =>
    readRequest({ inputs: "Hi", parameters, ...more }).request.sampling;
  const DRAWN = { temperature: 1, topK: 0, topP: 1, minP: 0 };

  it("takes the likeliest token unless a field says to draw", () => {
    for (const none of [{}, { temperature: 1 }, { top_p: 1 }, { do_sample: false, seed: 3 }]) {
      expect(samplingOf(none)).toEqual({ temperature: 0 });
    }
    expect(samplingOf({ do_sample: true, seed: 3 })).toEqual({ ...DRAWN, seed: 3 });
    expect(samplingOf({ temperature: 0.5 })).toEqual({ ...DRAWN, temperature: 0.5 });
    expect(samplingOf({ top_k: 5 })).toEqual({ ...DRAWN, topK: 5 });
    expect(samplingOf({ top_p: 0.5 })).toEqual({ ...DRAWN, topP: 0.5 });
  });

  it("draws with the seed of the request, or else with the one that was drawn for it", () => {
    const more = { seed: 11 };
    expect(samplingOf({ do_sample: true }, more)?.seed).toBe(11);
    expect(samplingOf({ do_sample: true, seed: null }, more)?.seed).toBe(11);
    expect(samplingOf({ do_sample: true, seed: 0 }, more)?.seed).toBe(0);
  });

  it("lets the penalty look at the whole context", () => {
    expect(samplingOf({ repetition_penalty: 1.2 })).toEqual({
      temperature: 0,
      repeatPenalty: 1.2,
      repeatLastN: -1,
    });
  });

  it("takes everything that changes nothing", () => {
    const { request } = readRequest({
      inputs: "Hi",
      parameters: {
        max_new_tokens: 5,
        stop: ["x"],
        best_of: 1,
        frequency_penalty: null,
        typical_p: null,
        watermark: false,
        decoder_input_details: false,
        top_n_tokens: null,
        grammar: null,
        adapter_id: null,
        truncate: 1000,
      },
    });
    expect(request).toEqual({
      prompt: "Hi",
      maxTokens: 5,
      stop: ["x"],
      sampling: { temperature: 0 },
    });
  });
});

describe("the TGI dialect refuses", () => {
  it.each([
    [{}, "inputs"],
    [{ inputs: "" }, "inputs"],
    [{ inputs: "Hi", parameters: 3 }, "parameters"],
    [{ inputs: "Hi", parameters: { best_of: 2 } }, "parameters.best_of"],
    [{ inputs: "Hi", parameters: { typical_p: 0.9 } }, "parameters.typical_p"],
    [{ inputs: "Hi", parameters: { watermark: true } }, "parameters.watermark"],
    [{ inputs: "Hi", parameters: { top_n_tokens: 2 } }, "parameters.top_n_tokens"],
    [{ inputs: "Hi", parameters: { frequency_penalty: 1 } }, "parameters.frequency_penalty"],
    [{ inputs: "Hi", parameters: { grammar: { type: "json" } } }, "parameters.grammar"],
    [{ inputs: "Hi", parameters: { adapter_id: "a" } }, "parameters.adapter_id"],
    [{ inputs: "Hi", parameters: { truncate: 3 } }, "parameters.truncate"],
    [{ inputs: "Hi", parameters: { max_new_tokens: 0 } }, "parameters.max_new_tokens"],
    [
      { inputs: "Hi", parameters: { decoder_input_details: true } },
      "parameters.decoder_input_details",
    ],
  ])("%j by the name of the field %s", async (fields, field) => {
    const { handler, mock } = serve(SCRIPT);
    for (const path of ["/generate", "/generate_stream", "/"]) {
      const { status, body } = await jsonOf(handler, post(path, fields));
      expect(status).toBe(422);
      expect(body["error_type"]).toBe("validation");
      expect(body["error"]).toContain(`${field}: expected`);
    }
    expect(mock.requests.length).toBe(0);
  });

  it.each([
    [new OverloadedError("The queue is full", 2), 429, "overloaded"],
    [new ContextFullError(3000, 2048), 422, "validation"],
    [new UpstreamError("The other server is gone"), 424, "generation"],
    [new EngineError("The library failed"), 424, "generation"],
    [new Error("no"), 424, "generation"],
    [new SluiceError("It was cancelled", "cancelled", 500), 500, "incomplete_generation"],
  ])("what cannot start, as that server does: %#", async (thrown, status, error_type) => {
    const { handler } = serve(() => [thrown]);
    for (const path of ["/generate", "/generate_stream", "/"]) {
      const response = await handler(post(path, { inputs: "Hi" }));
      expect(response.status).toBe(status);
      expect(response.headers.get("retry-after")).toBe(status === 429 ? "2" : null);
      const body = await response.json();
      expect(Object.keys(body)).toEqual(["error", "error_type"]);
      expect(body).toMatchObject({ error_type });
    }
  });

  it("what its servers never see with the statuses of HTTP", async () => {
    const { handler } = serve(SCRIPT);
    const malformed = await jsonOf(handler, post("/generate", "{"));
    expect(malformed).toMatchObject({ status: 400, body: { error_type: "validation" } });
    expect((await handler(get("/generate"))).status).toBe(405);
  });

  it("nothing on paths of other languages with its own statuses", async () => {
    const { handler } = serve(() => [new ContextFullError(3000, 2048)]);
    expect((await handler(post("/v1/stream", { prompt: "Hi" }))).status).toBe(400);
    expect((await handler(post("/v1/infer", { prompt: "Hi" }))).status).toBe(400);
  });
});

describe("GET /info", () => {
  it("says what is known of the model", async () => {
    const { handler } = serve(SCRIPT);
    const { status, body } = await jsonOf(handler, get("/info"));
    expect(status).toBe(200);
    expect(body).toMatchObject({ model_id: "mock", model_sha: null, max_total_tokens: 2048 });
    expect(tgi.describes.map(({ path }) => path)).toEqual(["/info"]);
  });
});
