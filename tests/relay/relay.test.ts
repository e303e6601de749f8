/** relay(): the contract of a Generator, over recorded and misbehaving upstreams. */
import { describe, expect, it } from "bun:test";
import type { GenerateRequest } from "../../src/engine/generator.ts";
import { OverloadedError, RequestError, SluiceError, UpstreamError } from "../../src/errors.ts";
import { relay, type RelayOptions } from "../../src/relay/mod.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import {
  chatChunk,
  type FakeUpstream,
  fakeUpstream,
  LLAMA_CHAT,
  refusingUpstream,
  VLLM_COMPLETION,
} from "../support/fake_upstream.ts";
import { watchTimers } from "../support/timers.ts";

const CHAT: GenerateRequest = { messages: [{ role: "user", content: "Hi" }] };
const never = new Promise<never>(() => undefined);

function over({ fetch }: Pick<FakeUpstream, "fetch">, more: Partial<RelayOptions> = {}) {
  return relay({ baseURL: "http://upstream/v1/", model: "m", fetch, ...more });
}

/** All events of a generation, with the times put out of the way. */
async function eventsOf(
  upstream: FakeUpstream,
  request: GenerateRequest = CHAT,
  more: Partial<RelayOptions> = {},
): Promise<StreamEvent[]> {
  const events = await Array.fromAsync(over(upstream, more).generate(request));
  return events.map((event) => event.type === "token" ? { ...event, timeMs: 0 } : event);
}

const textOf = (events: readonly StreamEvent[]): string =>
  events.map((event) => event.type === "token" ? event.text : "").join("");

async function refusal(upstream: FakeUpstream, more: Partial<RelayOptions> = {}): Promise<unknown> {
  const events = over(upstream, more).generate(CHAT);
  return await events.next().then(() => undefined, (thrown: unknown) => thrown);
}

describe("relay() gives the events of an upstream", () => {
  it("that streams a chat as llama-server does", async () => {
    const upstream = fakeUpstream([LLAMA_CHAT]);
    const events = await eventsOf(upstream);
    const token = (seq: number, text: string): StreamEvent => (
      { type: "token", seq, ids: [], text, timeMs: 0, choice: 0, channel: "content" }
    );
    expect(events.slice(0, -1)).toEqual([
      { type: "start", replay: null, promptTokens: 0 },
      token(1, "Hel"),
      token(2, "lo"),
      token(3, " wörld 😀"),
      { type: "usage", promptTokens: 12, completionTokens: 4, cachedTokens: 5 },
    ]);
    expect(events.at(-1)).toMatchObject({
      type: "complete",
      finishReason: "eos",
      stats: { promptTokens: 12, generatedTokens: 4 },
    });
    expect(upstream.requests[0]?.url).toBe("http://upstream/v1/chat/completions");
  });

  it("that streams a raw completion as vLLM does", async () => {
    const upstream = fakeUpstream([VLLM_COMPLETION]);
    const events = await eventsOf(upstream, { prompt: "Count", stop: ["."] });
    expect(textOf(events)).toBe(" one two");
    expect(events.at(-1)).toMatchObject({ finishReason: "stop" });
    expect(upstream.requests[0]?.url).toBe("http://upstream/v1/completions");
    expect(upstream.requests[0]?.body).toMatchObject({ prompt: "Count", stop: ["."] });
  });

  it("the same at any cut of its bytes", async () => {
    const bytes = new TextEncoder().encode(LLAMA_CHAT);
    const whole = textOf(await eventsOf(fakeUpstream([LLAMA_CHAT])));
    for (const size of [1, 7, 64]) {
      const pieces = Array.from(
        { length: Math.ceil(bytes.length / size) },
        (_, i) => bytes.slice(i * size, (i + 1) * size),
      );
      expect(textOf(await eventsOf(fakeUpstream(pieces)))).toBe(whole);
    }
  });

  it("with reasoning apart, once where a server says it twice", async () => {
    const events = await eventsOf(fakeUpstream([
      chatChunk({ reasoning_content: "hm", reasoning: "hm" }),
      chatChunk({ content: "yes" }, "length"),
    ]));
    expect(events.filter(({ type }) => type === "token")).toMatchObject([
      { text: "hm", channel: "reasoning" },
      { text: "yes", channel: "content" },
    ]);
    expect(events.at(-1)).toMatchObject({
      finishReason: "length",
      stats: { generatedTokens: 2, promptTokens: 0 },
    });
  });

  it("where it says only [DONE], or only the reason", async () => {
    for (const end of ["data: [DONE]\n\n", chatChunk({}, "stop")]) {
      const events = await eventsOf(fakeUpstream([chatChunk({ content: "a" }), end]));
      expect(events.at(-1)).toMatchObject({ type: "complete", finishReason: "eos" });
    }
  });

  it("past events of its own that nobody knows here", async () => {
    const foreign = 'event: ping\ndata: {"a":1}\n\nid: 7\n\n';
    const events = await eventsOf(fakeUpstream([foreign, LLAMA_CHAT]));
    expect(textOf(events)).toBe("Hello wörld 😀");
  });
});

describe("relay() asks the upstream", () => {
  it("with its key, its headers and every field that was given", async () => {
    const upstream = fakeUpstream([LLAMA_CHAT]);
    const sampling = { temperature: 0, topK: 3, topP: 0.5, minP: 0.1, repeatPenalty: 2, seed: 9 };
    const request = { ...CHAT, maxTokens: 5, ignoreEos: true, sampling };
    await eventsOf(upstream, request, { apiKey: "secret", headers: { "x-team": "a" } });
    const { headers, body } = upstream.requests[0]!;
    expect(headers.get("authorization")).toBe("Bearer secret");
    expect(headers.get("x-team")).toBe("a");
    expect(body).toEqual({
      model: "m",
      messages: [{ role: "user", content: "Hi" }],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 5,
      ignore_eos: true,
      temperature: 0,
      top_k: 3,
      top_p: 0.5,
      min_p: 0.1,
      repeat_penalty: 2,
      repetition_penalty: 2,
      seed: 9,
    });
  });

  it("for nothing before the first request, and for no more than is wanted", async () => {
    const upstream = fakeUpstream(["a", "b", "c", "d"].map((content) => chatChunk({ content })));
    const events = over(upstream).generate(CHAT);
    expect(upstream.requests.length).toBe(0);
    await events.next();
    expect([upstream.requests.length, upstream.pulled]).toEqual([1, 0]);
    await events.next();
    await events.next();
    expect(upstream.pulled).toBe(2);
    await events.return();
    expect([upstream.pulled, upstream.cancelled]).toEqual([2, 1]);
  });
});

describe("relay() before the start", () => {
  it.each([
    [{ error: { message: "no such field", param: "top_k" } }, "no such field"],
    [{ object: "error", message: "no such field", code: 400 }, "no such field"],
    [{ error: "no such field" }, "no such field"],
    [{ detail: [] }, "status 400"],
    ["<html>", "status 400"],
    ["null", "status 400"],
  ])("passes on why the request is refused: %j", async (body, sentence) => {
    const thrown = await refusal(refusingUpstream(400, body));
    expect(thrown).toBeInstanceOf(RequestError);
    expect(thrown).toMatchObject({
      status: 400,
      message: `Cannot accept the request: ${sentence}`,
    });
  });

  it("names the field at fault, and a prompt that is too long", async () => {
    const error = { message: "too long", param: "messages", code: "context_length_exceeded" };
    expect(await refusal(refusingUpstream(400, { error }))).toMatchObject({
      code: "context_length_exceeded",
      fields: [{ field: "messages", message: "too long" }],
    });
    const llama = { message: "too long", type: "exceed_context_size_error", code: 400 };
    expect(await refusal(refusingUpstream(400, { error: llama }))).toMatchObject({
      code: "context_length_exceeded",
    });
  });

  it.each([408, 429, 502, 503, 504, 529])("has no room where it says %d", async (status) => {
    const upstream = refusingUpstream(status, {}, { "retry-after": "7" });
    const thrown = await refusal(upstream);
    expect(thrown).toBeInstanceOf(OverloadedError);
    expect(thrown).toMatchObject({ status: 429, retryAfterS: 7 });
  });

  it.each([401, 403, 404, 500, 501])("fails where it says %d", async (status) => {
    const thrown = await refusal(refusingUpstream(status, { error: { message: "key sk-1" } }));
    expect(thrown).toBeInstanceOf(UpstreamError);
    expect((thrown as Error).message).toContain(`answered ${status}: key sk-1`);
  });

  it("fails where it cannot be reached, with the cause", async () => {
    const cause = new TypeError("refused");
    const thrown = await refusal({ ...fakeUpstream([]), fetch: () => Promise.reject(cause) });
    expect(thrown).toBeInstanceOf(UpstreamError);
    expect((thrown as Error).cause).toBe(cause);
  });

  it("fails where it answers with something else than a stream", async () => {
    const headers = { "content-type": "text/html" };
    const thrown = await refusal(fakeUpstream(["<p>"], { headers }));
    expect(thrown).toBeInstanceOf(UpstreamError);
    expect((thrown as Error).message).toContain("sent text/html");
  });

  it("has no room where it does not answer in time, and lets go of it", async () => {
    const { live, restore } = watchTimers();
    try {
      let signal: AbortSignal | null | undefined;
      const fetch = (_url: string, init: RequestInit) => {
        signal = init.signal;
        return never;
      };
      const thrown = await refusal({ ...fakeUpstream([]), fetch }, { silenceMs: 20 });
      expect(thrown).toBeInstanceOf(OverloadedError);
      expect(signal?.aborted).toBe(true);
      expect(live.size).toBe(0);
    } finally {
      restore();
    }
  });

  it("starts without it after a while, and tells a late refusal as an error", async () => {
    const gate = Promise.withResolvers<Response>();
    const upstream = { ...fakeUpstream([]), fetch: () => gate.promise };
    const events = over(upstream, { startMs: 5 }).generate(CHAT);
    expect((await events.next()).value).toMatchObject({ type: "start" });
    gate.resolve(new Response('{"error":"no"}', { status: 400 }));
    expect((await events.next()).value).toMatchObject({ type: "error", code: "upstream_error" });
    expect((await events.next()).done).toBe(true);
  });

  it("cannot go on with a stream of which tokens were given out, but can begin it", async () => {
    const events = over(fakeUpstream([LLAMA_CHAT]));
    const resumed = events.generate({ ...CHAT, resume: { ids: [], seq: 2 } });
    const thrown = await resumed.next().catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(RequestError);
    expect(thrown).toMatchObject({ code: "not_continuable" });
    const begun = events.generate({ ...CHAT, resume: { ids: [], seq: 0 } });
    expect((await begun.next()).value).toMatchObject({ type: "start" });
    await begun.return();
  });
});

describe("relay() after the start", () => {
  const first = chatChunk({ content: "a" });
  it.each([
    ["an error", [first + 'data: {"error":{"message":"out of memory"}}\n\n'], "out of memory"],
    ["an event of that name", [first, 'event: error\ndata: {"message":"gone"}\n\n'], "gone"],
    ["an error that is text", [first, "event: error\ndata: gone\n\n"], "does not say why"],
    ["what is not JSON", [first, "data: {\n\n"], "not JSON"],
    ["an end without a word", [first], "without saying how"],
    ["a cut", [first, new TypeError("reset")], "was cut off"],
    ["silence", [first, never], "fell silent"],
    ["a message without end", [first, `data: ${"x".repeat(1 << 20)}`, "x"], "more than 1048576"],
  ])("ends with one error for %s, after what was said before", async (_what, pieces, sentence) => {
    const upstream = fakeUpstream(pieces);
    const events = await eventsOf(upstream, CHAT, { silenceMs: 30 });
    expect(events.map(({ type }) => type)).toEqual(["start", "token", "error"]);
    expect(events.at(-1)).toMatchObject({ code: "upstream_error" });
    expect((events.at(-1) as { message: string }).message).toContain(sentence);
  });

  it("completes where only the usage is missing", async () => {
    for (const end of [new TypeError("reset"), never]) {
      const upstream = fakeUpstream([chatChunk({ content: "a" }, "stop"), end]);
      const events = await eventsOf(upstream, CHAT, { silenceMs: 30 });
      expect(events.at(-1)).toMatchObject({ type: "complete", finishReason: "eos" });
    }
  });

  it("says cancelled where the signal is aborted, and lets go of the upstream", async () => {
    const abort = new AbortController();
    const upstream = fakeUpstream([first, never]);
    const events = over(upstream).generate(CHAT, abort.signal);
    await events.next();
    await events.next();
    const pending = events.next();
    abort.abort();
    expect((await pending).value).toMatchObject({ type: "complete", finishReason: "cancelled" });
    expect((await events.next()).done).toBe(true);
    expect(upstream.cancelled).toBe(1);
  });

  it("says cancelled where it is aborted before the upstream has answered", async () => {
    const abort = new AbortController();
    const events = over({ fetch: () => never }, { startMs: 1 }).generate(CHAT, abort.signal);
    await events.next();
    const pending = events.next();
    abort.abort();
    expect((await pending).value).toMatchObject({ finishReason: "cancelled" });
    await events.return();
  });
});

describe("relay() refuses", () => {
  it.each([
    [{ baseURL: "upstream/v1" }, "baseURL"],
    [{ baseURL: "ftp://upstream/v1" }, "baseURL"],
    [{ baseURL: "http://me:secret@upstream/v1" }, "baseURL"],
    [{ baseURL: "http://upstream/v1?key=secret" }, "baseURL"],
    [{ model: "" }, "model"],
    [{ startMs: 0 }, "startMs"],
    [{ silenceMs: 0.5 }, "silenceMs"],
    [{ silenceMs: 2 ** 31 }, "silenceMs"],
  ])("%j", (options, name) => {
    const make = () => over(fakeUpstream([]), options);
    expect(make).toThrow(SluiceError);
    expect(make).toThrow(`Cannot make the relay: ${name} is`);
    expect(make).not.toThrow("secret");
  });

  it("nothing of what describes the model", () => {
    expect(over(fakeUpstream([]), { contextLength: 4096 }).model).toMatchObject({
      id: "m",
      n_ctx: 4096,
      n_vocab: 0,
    });
  });
});
