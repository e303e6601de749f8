/** Upstream: bodies, refusals and the reading of one answer. */
import { describe, expect, it } from "bun:test";
import { OverloadedError } from "../../src/errors.ts";
import { bodyOf, readRefusal, Upstream, UpstreamReader } from "../../src/relay/upstream.ts";
import { refusingUpstream } from "../support/fake_upstream.ts";

const signal = new AbortController().signal;

describe("bodyOf()", () => {
  it("asks for raw text and for chats by paths of their own, with nothing that was not given", () => {
    const shared = { model: "m", stream: true, stream_options: { include_usage: true } };
    const messages = [{ role: "user", content: "Hi" }];
    const asked = [bodyOf({ prompt: "Hi" }, "m"), bodyOf({ messages }, "m")];
    expect(JSON.parse(JSON.stringify(asked))).toEqual([
      { path: "/completions", body: { ...shared, prompt: "Hi" } },
      { path: "/chat/completions", body: { ...shared, messages } },
    ]);
  });
});

describe("readRefusal()", () => {
  it.each([
    ['{"error":{"message":"a","code":"b","type":"c","param":"d"}}', "a", "b c", "d"],
    ['{"message":"a","type":"c","param":null}', "a", " c", ""],
    ['{"error":"a"}', "a", " ", ""],
    ['{"error":{"message":7,"code":400}}', "", " ", ""],
    ["[]", "", " ", ""],
    ["null", "", " ", ""],
    ["<html>", "", " ", ""],
  ])("takes what is there of %s", (text, message, code, param) => {
    expect(readRefusal(text)).toEqual({ message, code, param });
  });

  it("keeps no more of a sentence than a client needs", () => {
    expect(readRefusal(JSON.stringify({ error: "x".repeat(9999) })).message.length).toBe(500);
  });
});

describe("Upstream", () => {
  it("understands a Retry-After that is a date, and one that is nothing", async () => {
    const later = new Date(Date.now() + 5500).toUTCString();
    for (const [value, from, to] of [[later, 4, 6], ["soon", 1, 1], ["-3", 1, 1]] as const) {
      const { fetch } = refusingUpstream(503, {}, { "retry-after": value });
      const upstream = new Upstream({ baseURL: "http://up", headers: {}, silenceMs: 1000, fetch });
      const thrown = await upstream.open(bodyOf({ prompt: "Hi" }, "m"), signal)
        .then(() => undefined, (error: unknown) => error);
      expect(thrown).toBeInstanceOf(OverloadedError);
      const { retryAfterS } = thrown as OverloadedError;
      expect(retryAfterS).toBeGreaterThanOrEqual(from);
      expect(retryAfterS).toBeLessThanOrEqual(to);
    }
  });

  it("reads no more of a refusal than its start", async () => {
    const upstream = refusingUpstream(500, "x".repeat(70_000));
    const parts = { baseURL: "http://up", headers: {}, silenceMs: 1000, fetch: upstream.fetch };
    const opened = new Upstream(parts).open(bodyOf({ prompt: "Hi" }, "m"), signal);
    await opened.catch(() => undefined);
    expect([upstream.pulled, upstream.cancelled]).toEqual([1, 1]);
  });
});

describe("UpstreamReader", () => {
  it("lets go of the body where its signal is aborted, whoever waits", async () => {
    const abort = new AbortController();
    let cancelled = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: () => new Promise(() => undefined),
      cancel: () => void cancelled++,
    });
    const pending = new UpstreamReader(body, 1000, abort.signal).read();
    abort.abort(new Error("left"));
    expect(await pending.catch((error: Error) => error.message)).toBe("left");
    expect(cancelled).toBe(1);
  });
});
