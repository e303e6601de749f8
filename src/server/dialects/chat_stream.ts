/**
 * The chat stream dialect: `/chat/stream`, by POST for programs and by GET for an EventSource.
 *
 * A program gets `data: {"token": ..., "done": false}` lines and no others; an EventSource gets the
 * same data as the events `message`, `done` and `error`, with ids, so that it resumes by itself.
 * Either may ask for the text alone, which ends with `[DONE]`. A prompt is one user message.
 *
 * @module
 */
import * as v from "valibot";
import type { ChatMessage, GenerateRequest } from "../../engine/generator.ts";
import type { StreamEvent } from "../../stream/event.ts";
import type { SseMessage } from "../../stream/sse.ts";
import type { Dialect, Encode, Exchange, Manner, Speech } from "../dialect.ts";
import {
  checkFields,
  deliveryFields,
  deliveryOf,
  type JsonObject,
  messages,
  objectOf,
  present,
  samplingFields,
  samplingOptions,
  text,
} from "../fields.ts";
import { failureOf, plainErrorBody } from "../public_error.ts";
import { queryBody } from "../query.ts";

/** The ways to say what is to be answered. */
const QUESTIONS = ["prompt", "message", "messages"] as const;

const schema = objectOf("an object", {
  ...samplingFields,
  ...deliveryFields,
  prompt: v.nullish(text),
  message: v.nullish(text),
  messages: v.nullish(messages),
});

/** What one shape says of the parts of a stream. */
interface Shape {
  /** Names of its events; a shape without them writes data alone. */
  readonly hasEvents: boolean;
  /** Data of a piece of text. */
  piece(text: string): string;
  /** Data of the end. */
  readonly end: string;
  /** Whether the end comes after an error too. */
  readonly alwaysEnds: boolean;
}

const JSON_DATA = {
  piece: (token: string) => JSON.stringify({ token, done: false }),
  end: JSON.stringify({ token: "", done: true }),
  alwaysEnds: false,
} as const;
const TEXT_DATA = { piece: (text: string) => text, end: "[DONE]", alwaysEnds: true } as const;

function encoderOf({ hasEvents, piece, end, alwaysEnds }: Shape): Encode {
  const message = (event: string, data: string): SseMessage =>
    hasEvents ? { event, data } : { data };
  const done = message("done", end);
  return (event: StreamEvent): SseMessage[] => {
    const failure = failureOf(event);
    if (failure !== undefined) {
      const data = JSON.stringify(plainErrorBody(failure));
      // Among lines of text only its name tells an error.
      const error = alwaysEnds ? { event: "error", data } : message("error", data);
      return alwaysEnds ? [error, done] : [error];
    }
    if (event.type === "complete") return [done];
    const isText = event.type === "snapshot" ||
      (event.type === "token" && event.channel !== "reasoning");
    // Nothing to show yet: the text of a held-back token comes with a later one.
    return isText && event.text !== "" ? [message("message", piece(event.text))] : [];
  };
}

function acceptAs(encode: Encode, body: JsonObject): Exchange {
  const given = QUESTIONS.filter((name) => (body[name] ?? null) !== null);
  const fields = checkFields(
    schema,
    body,
    given.length === 1 ? [] : [{
      field: given[1] ?? "prompt",
      message: `expected exactly one of ${QUESTIONS.join(", ")}, got ${given.length}`,
    }],
  );
  const asked: ChatMessage[] = fields.messages ??
    [{ role: "user", content: fields.prompt ?? fields.message ?? "" }];
  const request = present<GenerateRequest>({
    messages: asked,
    maxTokens: fields.max_tokens,
    sampling: samplingOptions(fields),
    stop: fields.stop,
    ignoreEos: fields.ignore_eos,
  });
  return {
    request,
    delivery: deliveryOf(fields),
    stream: true,
    encoder: () => encode,
    errorBody: plainErrorBody,
  };
}

function speechOf(name: string, shape: Shape): Speech {
  const encode = encoderOf(shape);
  return {
    name,
    ...(!shape.hasEvents && { frames: "plain" }),
    accept: (body) => acceptAs(encode, body),
    encoder: () => encode,
    query: (params) => queryBody(params, ["prompt", "message", "stop"]),
  };
}

/** The shape for how a request was sent. */
function shapeOf({ isGet, wantsText }: Manner): string {
  return `${isGet ? "chat_events" : "chat_stream"}${wantsText ? "_text" : ""}`;
}

/** `POST` and `GET /chat/stream`. */
export const chatStream: Dialect = {
  generates: [{
    ...speechOf("chat_stream", { ...JSON_DATA, hasEvents: false }),
    path: "/chat/stream",
    shape: shapeOf,
  }],
  speaks: [
    speechOf("chat_stream_text", { ...TEXT_DATA, hasEvents: false }),
    speechOf("chat_events", { ...JSON_DATA, hasEvents: true }),
    speechOf("chat_events_text", { ...TEXT_DATA, hasEvents: true }),
  ],
  describes: [],
  errorBody: plainErrorBody,
};
