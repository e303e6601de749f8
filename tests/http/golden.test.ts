/** Whole responses, byte for byte: what each route says for a scripted generation. */
import { describe, expect, it } from "bun:test";
import { readFile } from "node:fs/promises";
import { ContextFullError, EngineError, OverloadedError } from "../../src/errors.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { createHandler } from "../../src/server/handler.ts";
import {
  complete,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { get, post, transcript } from "../support/requests.ts";

const CHAT = { messages: [{ role: "user", content: "Hi" }] };
const USAGE = { stream: true, stream_options: { include_usage: true } };

/** A held-back code point: the first token has no text yet. */
const held = saying("", "é", ' "\n');
/** A stop text was held back and let go: one event with three ids. */
const several: Script = () => [
  START,
  token("one", 1),
  token(" two three", 2, { ids: [7, 8, 9], timeMs: 39.6 }),
  complete(4, "length"),
];
const reasoning: Script = () => [
  START,
  token("hm", 1, { channel: "reasoning" }),
  token("yes", 2),
  usage(2),
  complete(2),
];
const broken: Script = () => [
  START,
  token("Hello", 1),
  {
    type: "error",
    code: "engine_error",
    message: "Cannot read /home/me/secret.gguf",
    hints: ["Load the model again."],
  } satisfies StreamEvent,
];
const ended = (reason: "stop" | "length" | "cancelled"): Script => () => [
  START,
  token("Hello", 1),
  usage(1),
  complete(1, reason),
];
const refusing = (error: Error): Script => () => [error];

const full = refusing(new ContextFullError(3000, 2048));
const busy = refusing(new OverloadedError("Cannot start the generation: the queue is full", 2.5));
const crashed = refusing(new EngineError("Cannot open /home/me/secret.gguf"));

const cases: [string, Request, Script?][] = [
  ["stream", post("/v1/stream", { prompt: "Hi" })],
  ["stream_messages", post("/v1/stream", CHAT), held],
  ["stream_several_ids", post("/v1/stream", { prompt: "Hi" }), several],
  ["stream_stop", post("/v1/stream", { prompt: "Hi" }), ended("stop")],
  ["stream_cancelled", post("/v1/stream", { prompt: "Hi" }), ended("cancelled")],
  ["stream_error", post("/v1/stream", { prompt: "Hi" }), broken],
  ["stream_error_detailed", post("/v1/stream", { prompt: "Hi", detailed_errors: true }), broken],
  ["stream_bad_fields", post("/v1/stream", { temperature: 5, top_k: -1, max_tokens: "1" })],
  ["stream_context_full", post("/v1/stream", { prompt: "Hi", detailed_errors: true }), full],
  ["stream_overloaded", post("/v1/stream", { prompt: "Hi" }), busy],
  ["stream_crashed", post("/v1/stream", { prompt: "Hi" }), crashed],
  ["stream_wrong_method", get("/v1/stream")],
  ["chat", post("/v1/chat/completions", CHAT)],
  ["chat_reasoning", post("/v1/chat/completions", CHAT), reasoning],
  ["chat_stream", post("/v1/chat/completions", { ...CHAT, stream: true }), held],
  ["chat_stream_usage", post("/v1/chat/completions", { ...CHAT, ...USAGE })],
  ["chat_stream_reasoning", post("/v1/chat/completions", { ...CHAT, stream: true }), reasoning],
  ["chat_stream_length", post("/v1/chat/completions", { ...CHAT, stream: true }), ended("length")],
  [
    "chat_stream_cancelled",
    post("/v1/chat/completions", { ...CHAT, ...USAGE }),
    ended("cancelled"),
  ],
  ["chat_stream_error", post("/v1/chat/completions", { ...CHAT, ...USAGE }), broken],
  ["chat_bad_fields", post("/v1/chat/completions", { messages: [{ role: "bot" }], n: 2 })],
  ["chat_context_full", post("/v1/chat/completions", { ...CHAT, stream: true }), full],
  ["chat_overloaded", post("/v1/chat/completions", CHAT), busy],
  ["chat_crashed", post("/v1/chat/completions", { ...CHAT, stream: true }), crashed],
  ["completion", post("/v1/completions", { prompt: "Hi" }), ended("stop")],
  ["completion_stream", post("/v1/completions", { prompt: ["Hi"], stream: true })],
  ["completion_stream_usage", post("/v1/completions", { prompt: "Hi", ...USAGE }), ended("length")],
  ["completion_bad_prompt", post("/v1/completions", { prompt: [1, 2, 3] })],
  ["models", get("/v1/models")],
  ["model", get("/v1/models/mock")],
  ["model_unknown", get("/v1/models/org%2Fother")],
  ["health", get("/health")],
  ["health_ready", get("/health/ready")],
  ["health_live", get("/health/live")],
  ["unknown_route", get("/v2/nothing")],
];

describe("createHandler() answers byte for byte", () => {
  for (const [name, request, script] of cases) {
    it(name, async () => {
      const mock = new MockGenerator(script);
      const handler = createHandler(mock, { onError: () => undefined });
      const response = await transcript(await handler(request));
      const golden = new URL(`golden/${name}.http`, import.meta.url);
      expect(response).toBe(await readFile(golden, "utf8"));
      expect(response).not.toContain("secret");
      expect(mock.active).toBe(0);
    });
  }
});
