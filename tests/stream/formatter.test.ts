/** SseFormatter: its strings, byte for byte. */
import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import type { CompleteEvent, TokenEvent } from "../../src/stream/event.ts";
import { SseFormatter } from "../../src/stream/formatter.ts";
import { SseParser } from "../../src/stream/sse.ts";

function token(text: string, ids: number[] = [1234]): TokenEvent {
  return { type: "token", seq: 1, ids, text, timeMs: 0, choice: 0, channel: "content" };
}

function complete(finishReason: CompleteEvent["finishReason"]): CompleteEvent {
  const stats = {
    promptTokens: 1,
    generatedTokens: 2,
    queueMs: 0,
    prefillMs: 10,
    decodeMs: 31.4,
    totalMs: 41.6,
  };
  return { type: "complete", finishReason, stats };
}

describe("SseFormatter", () => {
  it("writes a token with its id", () => {
    const formatter = new SseFormatter();
    formatter.includeTokenIds = true;
    formatter.includeLogprobs = true;
    expect(formatter.formatToken(token("Hello"))).toBe(
      'data: {"token":"Hello","token_id":1234}\n\n',
    );
  });

  it("writes an error", () => {
    expect(new SseFormatter().formatError("Out of memory")).toBe(
      'data: {"error":"Out of memory"}\n\n',
    );
  });

  it("writes a whole stream", () => {
    const formatter = new SseFormatter();
    const stream = formatter.formatToken(token("Hello")) + formatter.formatToken(token(" world")) +
      formatter.formatComplete(complete("stop"));
    expect(stream).toBe(
      'data: {"token":"Hello"}\n\ndata: {"token":" world"}\n\n' +
        'data: {"generated_tokens":2,"finish_reason":"stop"}\n\ndata: [DONE]\n\n',
    );
  });

  it("includes neither ids nor log probabilities nor times until it is told to", () => {
    const { includeTokenIds, includeLogprobs, includeTiming } = new SseFormatter();
    expect([includeTokenIds, includeLogprobs, includeTiming]).toEqual([false, false, false]);
    const event = { ...token("a"), logprobs: [-0.5] };
    expect(new SseFormatter().formatToken(event)).toBe('data: {"token":"a"}\n\n');
  });

  it("writes a log probability where it is known", () => {
    const formatter = new SseFormatter();
    formatter.includeLogprobs = true;
    expect(formatter.formatToken({ ...token("a"), logprobs: [-0.5] })).toBe(
      'data: {"token":"a","logprob":-0.5}\n\n',
    );
  });

  it("says that a token is special only where it is", () => {
    const formatter = new SseFormatter();
    expect(formatter.formatToken({ ...token("</s>"), special: true })).toBe(
      'data: {"token":"</s>","special":true}\n\n',
    );
    expect(formatter.formatToken({ ...token("a"), special: false })).toBe(
      'data: {"token":"a"}\n\n',
    );
  });

  it("writes one message for each id, the text with the last", () => {
    const formatter = new SseFormatter();
    formatter.includeTokenIds = true;
    formatter.includeLogprobs = true;
    expect(formatter.formatToken({ ...token("ab", [1, 2]), logprobs: [-1, -2] })).toBe(
      'data: {"token":"","token_id":1,"logprob":-1}\n\n' +
        'data: {"token":"ab","token_id":2,"logprob":-2}\n\n',
    );
  });

  it("writes a null where the source has no ids", () => {
    const formatter = new SseFormatter();
    formatter.includeTokenIds = true;
    expect(formatter.formatToken(token("a", []))).toBe('data: {"token":"a","token_id":null}\n\n');
  });

  it("writes the time of the generation in whole milliseconds", () => {
    const formatter = new SseFormatter();
    formatter.includeTiming = true;
    expect(formatter.formatComplete(complete("length"))).toBe(
      'data: {"generated_tokens":2,"finish_reason":"length","generation_time_ms":42}\n\n' +
        "data: [DONE]\n\n",
    );
  });

  it.each(
    [
      ["length", "length"],
      ["stop", "stop"],
      ["eos", "eos"],
      ["tool_calls", "eos"],
      ["cancelled", "cancelled"],
      ["error", "error"],
    ] as const,
  )("says of the end %s: %s", (reason, word) => {
    expect(new SseFormatter().formatComplete(complete(reason))).toContain(
      `"finish_reason":"${word}"}`,
    );
  });

  it("escapes quotes, backslashes, line ends, tabs and control characters", () => {
    const text = '"\\\n\r\t\u0001\u2028é😀';
    const line = new SseFormatter().formatToken(token(text));
    expect(line).toBe('data: {"token":"\\"\\\\\\n\\r\\t\\u0001\u2028é😀"}\n\n');
    const [message] = new SseParser().push(new TextEncoder().encode(line));
    expect(JSON.parse(message!.data!)).toEqual({ token: text });
    expect(new SseFormatter().formatError("a\n\ndata: b")).toBe(
      'data: {"error":"a\\n\\ndata: b"}\n\n',
    );
  });

  it("begins each message with data: and ends it with a blank line, whatever the text", () => {
    const formatter = new SseFormatter();
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
      for (const line of [formatter.formatToken(token(text)), formatter.formatError(text)]) {
        expect(line).toMatch(/^data: [^\r\n]+\n\n$/);
        expect(Object.values(JSON.parse(line.slice("data: ".length)))).toEqual([text]);
      }
    }));
  });
});
