/** Dialects: what an encoder says depends on its events alone, and on nothing outside. */
import { describe, expect, it } from "bun:test";
import type { AnswerContext, StreamExchange } from "../../src/server/dialect.ts";
import { usageOf } from "../../src/server/dialect.ts";
import { native } from "../../src/server/dialects/native.ts";
import { acceptChat, acceptCompletion } from "../../src/server/dialects/openai_request.ts";
import {
  chatShape,
  completionShape,
  makeEncoder,
} from "../../src/server/dialects/openai_response.ts";
import { openai } from "../../src/server/dialects/openai.ts";
import { failure, type PublicError } from "../../src/server/public_error.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { encodeSse } from "../../src/stream/sse.ts";
import { complete, MODEL, START, token, usage } from "../support/mock_generator.ts";

const context: AnswerContext = { model: MODEL, id: "f".repeat(32), created: 1_700_000_000 };
const noError = (): unknown => ({ error: {} });
const messages = [{ role: "user", content: "Hi" }];
const asked = { stream: true, stream_options: { include_usage: true } };

function streaming(exchange: { stream: boolean } | undefined): StreamExchange {
  if (exchange?.stream !== true) throw new TypeError("It does not stream");
  return exchange as StreamExchange;
}

const exchanges: [string, StreamExchange][] = [
  ["chat", streaming(acceptChat({ messages, ...asked }, context, noError))],
  ["completion", streaming(acceptCompletion({ prompt: "Hi", ...asked }, context, noError))],
  ["native", streaming(native.generates[0]?.accept({ prompt: "Hi" }, context))],
];

const events: StreamEvent[] = [
  START,
  token("a", 1),
  token("", 2),
  token("bc", 3, { ids: [7, 8] }),
  usage(4),
  complete(4),
];

describe.each(exchanges)("the encoder of %s", (_name, exchange) => {
  const write = (some: StreamEvent[]): string[] => {
    const encode = exchange.encoder();
    return some.map((event, seq) => encode(event, seq).map(encodeSse).join(""));
  };

  it("says the same for the same events, from any encoder", () => {
    expect(write(events)).toEqual(write(structuredClone(events)));
  });

  it("goes on at any event where another has read what was before", () => {
    const whole = write(events);
    for (let at = 0; at <= events.length; at++) {
      const encode = exchange.encoder();
      const from = Math.max(0, at - 1);
      // Only the event just before counts.
      const rest = events.slice(from).map((event, i) =>
        encode(event, from + i).map(encodeSse).join("")
      );
      expect(rest.slice(at - from)).toEqual(whole.slice(at));
    }
  });

  it("leaves ids and retry times to whoever sends", () => {
    const encode = exchange.encoder();
    for (const message of events.flatMap(encode)) {
      expect(message.id).toBe(undefined);
      expect(message.retry).toBe(undefined);
    }
  });

  it("writes one line of data that is JSON, or [DONE]", () => {
    const texts = ['"', "\\", "\n\n", "\u2028", "\ud800", "😀", "\0", "</script>", "data: x"];
    const encode = exchange.encoder();
    for (const message of [START, ...texts.map((text, i) => token(text, i + 1))].flatMap(encode)) {
      expect(message.data).not.toMatch(/[\r\n]/);
      expect(JSON.parse(message.data ?? "")).toBeInstanceOf(Object);
    }
  });
});

describe("makeEncoder()", () => {
  it("keeps the text of a token as it is, in both shapes", () => {
    for (const [shape, path] of [[chatShape, "delta"], [completionShape, "text"]] as const) {
      const encode = makeEncoder(shape, context, false, noError);
      for (const text of ['"', "\\n", "\n", "\u2028", "\ud800", "😀", "{}"]) {
        const { choices } = JSON.parse(encode(token(text, 1), 1)[0]?.data ?? "");
        const value = path === "delta" ? choices[0].delta.content : choices[0].text;
        expect(value).toBe(text);
      }
    }
  });

  it("names the answer that a token belongs to", () => {
    const encode = makeEncoder(chatShape, context, false, noError);
    const { choices } = JSON.parse(encode(token("x", 1, { choice: 2 }), 1)[0]?.data ?? "");
    expect(choices[0].index).toBe(2);
  });

  it("says the fingerprint of the model where it has one", () => {
    const known = { ...context, model: { ...MODEL, fingerprint: "abc" } };
    const [message] = makeEncoder(chatShape, known, false, noError)(START, 0);
    expect(JSON.parse(message?.data ?? "").system_fingerprint).toBe("abc");
  });
});

describe("the native dialect without ids", () => {
  it("says null, as for a relay", () => {
    const encode = exchanges[2]?.[1].encoder();
    const [message] = encode?.(token("x", 1, { ids: [] }), 1) ?? [];
    expect(JSON.parse(message?.data ?? "")).toEqual({
      token: "x",
      token_id: null,
      cumulative_time_ms: 10,
      position: 1,
    });
  });

  it("says 0 tokens per second where no time has passed", () => {
    const encode = exchanges[2]?.[1].encoder();
    const done = complete(0, "length");
    const [message] = encode?.({ ...done, stats: { ...done.stats, totalMs: 0 } }, 1) ?? [];
    expect(JSON.parse(message?.data ?? "")).toMatchObject({
      tokens_per_second: 0,
      total_tokens: 0,
    });
  });
});

describe("usageOf()", () => {
  it("prefers the usage event to the statistics", () => {
    const { stats } = complete(4);
    expect(usageOf(stats, usage(9))).toMatchObject({ completionTokens: 9, cachedTokens: 3 });
    expect(usageOf(stats, undefined)).toEqual({
      promptTokens: 5,
      completionTokens: 4,
      cachedTokens: 0,
    });
  });
});

describe("every code in both envelopes", () => {
  const told = (code: string, status: number): PublicError =>
    status < 500 ? { status, code, message: "m", fields: [], hints: ["h"] } : failure(code, ["h"]);
  it.each(
    [
      ["invalid_request", 400, "validation", "invalid_request_error"],
      ["invalid_host", 400, "validation", "invalid_request_error"],
      ["context_length_exceeded", 400, "context", "invalid_request_error"],
      ["host_not_allowed", 403, "validation", "permission_error"],
      ["cross_site", 403, "validation", "permission_error"],
      ["not_found", 404, "validation", "invalid_request_error"],
      ["model_not_found", 404, "validation", "invalid_request_error"],
      ["method_not_allowed", 405, "validation", "invalid_request_error"],
      ["body_too_large", 413, "validation", "invalid_request_error"],
      ["overloaded", 429, "overloaded", "overloaded_error"],
      ["invalid_gguf", 500, "model", "server_error"],
      ["model_error", 500, "model", "server_error"],
      ["setup_error", 500, "model", "server_error"],
      ["disposed", 500, "model", "server_error"],
      ["library_error", 500, "generation", "server_error"],
      ["shape_error", 500, "generation", "server_error"],
      ["engine_error", 500, "generation", "server_error"],
      ["cancelled", 500, "generation", "server_error"],
      ["internal_error", 500, "internal", "server_error"],
    ] as const,
  )("%s with status %d is %s there and %s here", (code, status, nativeType, openaiType) => {
    const error = told(code, status);
    expect(error.code).toBe(code);
    expect(native.errorBody(error)).toEqual({
      error_type: nativeType,
      message: error.message,
      recovery_hints: [],
      tokens_before_error: 0,
      fields: [],
    });
    expect(openai.errorBody(error)).toEqual({
      error: { message: error.message, type: openaiType, param: null, code },
    });
  });
});
