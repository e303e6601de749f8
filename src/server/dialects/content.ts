/**
 * The content dialect: `POST /chat/completions`, `data: {"content": ...}` for each piece of text,
 * then `[DONE]`.
 *
 * Its frames are bare, because its clients read every block as JSON, and `[DONE]` comes after an
 * error too. It streams unless `stream` is false.
 *
 * @module
 */
import * as v from "valibot";
import type { GenerateRequest } from "../../engine/generator.ts";
import type { StreamEvent } from "../../stream/event.ts";
import type { SseMessage } from "../../stream/sse.ts";
import { type Dialect, DONE, type Exchange } from "../dialect.ts";
import {
  anyText,
  boolean,
  checkFields,
  deliveryFields,
  deliveryOf,
  type JsonObject,
  messages,
  objectOf,
  present,
  samplingFields,
  samplingOptions,
} from "../fields.ts";
import { failureOf, plainErrorBody } from "../public_error.ts";

const schema = objectOf("an object", {
  ...samplingFields,
  ...deliveryFields,
  model: v.nullish(anyText),
  messages,
  stream: v.nullish(boolean),
});

function encode(event: StreamEvent): SseMessage[] {
  const failure = failureOf(event);
  if (failure !== undefined) return [{ data: JSON.stringify(plainErrorBody(failure)) }, DONE];
  if (event.type === "complete") return [DONE];
  const isText = event.type === "snapshot" ||
    (event.type === "token" && event.channel !== "reasoning");
  // Nothing to show yet: the text of a held-back token comes with a later one.
  return isText && event.text !== "" ? [{ data: JSON.stringify({ content: event.text }) }] : [];
}

function accept(body: JsonObject): Exchange {
  const fields = checkFields(schema, body);
  const request = present<GenerateRequest>({
    messages: fields.messages,
    maxTokens: fields.max_tokens,
    sampling: samplingOptions(fields),
    stop: fields.stop,
    ignoreEos: fields.ignore_eos,
  });
  const accepted = { request, delivery: deliveryOf(fields), errorBody: plainErrorBody };
  if (fields.stream === false) {
    return { ...accepted, stream: false, answer: ({ text }) => ({ content: text }) };
  }
  return { ...accepted, stream: true, encoder: () => encode };
}

/** `POST /chat/completions`. */
export const content: Dialect = {
  generates: [{
    name: "content",
    path: "/chat/completions",
    frames: "bare",
    accept,
    encoder: () => encode,
  }],
  describes: [],
  errorBody: plainErrorBody,
};
