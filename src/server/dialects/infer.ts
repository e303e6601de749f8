/**
 * The infer dialect: `POST` and `GET /v1/infer`, `data: {"token": ...}` for each token, then
 * `[DONE]`.
 *
 * The bytes of a stream are those of `SseFormatter`: `include_token_ids` adds `token_id`, and
 * `include_complete` the completion before `[DONE]`, which comes after an error too. Without
 * `stream: true` a POST is answered in one piece. A prompt is raw text.
 *
 * @module
 */
import * as v from "valibot";
import type { GenerateRequest } from "../../engine/generator.ts";
import type { FinishReason, StreamEvent } from "../../stream/event.ts";
import type { SseMessage } from "../../stream/sse.ts";
import { type Completion, type Dialect, DONE, type Encode, type Exchange } from "../dialect.ts";
import {
  anyText,
  boolean,
  checkFields,
  deliveryFields,
  deliveryOf,
  type JsonObject,
  messages,
  objectOf,
  only,
  present,
  samplingFields,
  samplingOptions,
  text,
} from "../fields.ts";
import { failureOf, plainErrorBody } from "../public_error.ts";
import { queryBody } from "../query.ts";

const schema = objectOf("an object", {
  ...samplingFields,
  ...deliveryFields,
  model: v.nullish(anyText),
  prompt: v.nullish(text),
  messages: v.nullish(messages),
  stream: v.nullish(boolean),
  include_token_ids: v.nullish(boolean),
  include_complete: v.nullish(boolean),
  /** No generator tells them, and a made-up one would be worse than none. */
  include_logprobs: only("false", (value) => value === false),
});

/** What tokens and the end of a stream say beyond the text. */
interface Flags {
  readonly hasIds: boolean;
  readonly hasComplete: boolean;
}

/** A call of a tool is where the model ended by itself. */
function reasonOf(reason: FinishReason): FinishReason {
  return reason === "tool_calls" ? "eos" : reason;
}

/** One message for each id: the text comes with the last one, or alone where there are no ids. */
function tokenMessages(ids: readonly number[], text: string, hasIds: boolean): SseMessage[] {
  const last = Math.max(ids.length, 1) - 1;
  return Array.from({ length: last + 1 }, (_, i) => {
    const token = i === last ? text : "";
    return { data: JSON.stringify({ token, ...(hasIds && { token_id: ids[i] ?? null }) }) };
  });
}

function encoderOf({ hasIds, hasComplete }: Flags): Encode {
  return (event: StreamEvent): SseMessage[] => {
    const failure = failureOf(event);
    if (failure !== undefined) return [{ data: JSON.stringify(plainErrorBody(failure)) }, DONE];
    switch (event.type) {
      case "token":
        return tokenMessages(event.ids, event.text, hasIds);
      case "snapshot":
        return tokenMessages(hasIds ? event.ids : [], event.reasoning + event.text, hasIds);
      case "complete": {
        if (!hasComplete) return [DONE];
        const { finishReason, stats } = event;
        const data = {
          generated_tokens: stats.generatedTokens,
          finish_reason: reasonOf(finishReason),
          generation_time_ms: Math.round(stats.totalMs),
        };
        return [{ data: JSON.stringify(data) }, DONE];
      }
      default:
        return [];
    }
  };
}

function answer({ text, reasoning, ids, finishReason, stats }: Completion): unknown {
  return {
    text: reasoning + text,
    token_ids: ids,
    finish_reason: reasonOf(finishReason),
    generated_tokens: stats.generatedTokens,
    generation_time_ms: Math.round(stats.totalMs),
  };
}

function accept(body: JsonObject): Exchange {
  const isGiven = (name: string): boolean => (body[name] ?? null) !== null;
  const fields = checkFields(
    schema,
    body,
    isGiven("prompt") !== isGiven("messages") ? [] : [{
      field: "prompt",
      message: "expected either prompt or messages, and not both",
    }],
  );
  const request = present<GenerateRequest>({
    prompt: fields.prompt,
    messages: fields.messages,
    maxTokens: fields.max_tokens,
    sampling: samplingOptions(fields),
    stop: fields.stop,
    ignoreEos: fields.ignore_eos,
  });
  const accepted = { request, delivery: deliveryOf(fields), errorBody: plainErrorBody };
  if (fields.stream !== true) return { ...accepted, stream: false, answer };
  const flags = {
    hasIds: fields.include_token_ids ?? false,
    hasComplete: fields.include_complete ?? false,
  };
  return { ...accepted, stream: true, encoder: () => encoderOf(flags) };
}

/** `POST` and `GET /v1/infer`; an EventSource can read nothing but a stream. */
export const infer: Dialect = {
  generates: [{
    name: "infer",
    path: "/v1/infer",
    accept,
    encoder: () => encoderOf({ hasIds: false, hasComplete: false }),
    query: (params) => ({ stream: true, ...queryBody(params, ["prompt", "stop"]) }),
  }],
  describes: [],
  errorBody: plainErrorBody,
};
