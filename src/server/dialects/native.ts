/**
 * The native dialect: `POST /v1/stream`, one named event for each token with its id, its time and
 * its place.
 *
 * Always a stream. Events are `token`, then `complete` or `error`; there is no `[DONE]`.
 *
 * @module
 */
import * as v from "valibot";
import type { GenerateRequest } from "../../engine/generator.ts";
import type { FinishReason, NoticeEvent, StreamEvent, TokenEvent } from "../../stream/event.ts";
import type { SseMessage } from "../../stream/sse.ts";
import type { Dialect, Encode, Exchange } from "../dialect.ts";
import {
  boolean,
  checkFields,
  deliveryFields,
  deliveryOf,
  expected,
  type JsonObject,
  messages,
  numberFrom,
  objectOf,
  present,
  samplingFields,
  samplingOptions,
  text,
} from "../fields.ts";
import type { PublicError } from "../public_error.ts";

/** The closed list of `error_type`. */
export type NativeErrorType =
  | "validation"
  | "context"
  | "overloaded"
  | "authentication"
  | "permission"
  | "model"
  | "generation"
  | "internal";

const ERROR_TYPES: Readonly<Record<string, NativeErrorType>> = {
  context_length_exceeded: "context",
  overloaded: "overloaded",
  rate_limit_exceeded: "overloaded",
  missing_api_key: "authentication",
  invalid_api_key: "authentication",
  invalid_ticket: "authentication",
  insufficient_scope: "permission",
  invalid_gguf: "model",
  model_error: "model",
  setup_error: "model",
  disposed: "model",
  library_error: "generation",
  shape_error: "generation",
  engine_error: "generation",
  upstream_error: "generation",
  cancelled: "generation",
};

/** What `completion_reason` says; the first two ways to end are what the client asked for. */
const REASONS: Readonly<Record<FinishReason, string>> = {
  eos: "Generation completed successfully",
  tool_calls: "Generation completed successfully",
  stop: "Stop sequence reached",
  length: "Token limit reached",
  cancelled: "Generation cancelled",
  error: "Generation failed",
};

const NOTICES: readonly unknown[] = ["queue", "prefill"];

const schema = objectOf("an object", {
  ...samplingFields,
  ...deliveryFields,
  prompt: v.nullish(text),
  messages: v.nullish(messages),
  /** The longer name for `repeat_penalty`, which wins over it. */
  repetition_penalty: v.nullish(numberFrom(0.1, 10)),
  detailed_errors: v.nullish(boolean),
  /** What is told beside the tokens, before the first. */
  events: v.nullish(expected<NoticeEvent["type"][]>(
    'an array of "queue" and "prefill"',
    (value) => Array.isArray(value) && value.every((name) => NOTICES.includes(name)),
  )),
});

/** The type of a failure by its code; every refusal that has no type of its own is a validation. */
function errorType(code: string, status: number): NativeErrorType {
  return ERROR_TYPES[code] ?? (status < 500 ? "validation" : "internal");
}

function errorBody(error: PublicError, isDetailed: boolean): unknown {
  return {
    error_type: errorType(error.code, error.status),
    message: error.message,
    recovery_hints: isDetailed ? error.hints : [],
    tokens_before_error: 0,
    fields: error.fields,
  };
}

/** Tokens per second with two decimals; 0 where no time has passed. */
function rate(tokens: number, ms: number): number {
  return ms > 0 ? Math.round(tokens / ms * 100_000) / 100 : 0;
}

/**
 * One message for each id, as if none had been held back: the text is known with the last one.
 * A source without ids, such as a relay, gets one message with a null.
 *
 * @param position of the first id
 */
function encodeToken({ ids, text, timeMs }: TokenEvent, position: number): SseMessage[] {
  const cumulative_time_ms = Math.round(timeMs);
  const last = Math.max(ids.length, 1) - 1;
  const messages: SseMessage[] = [];
  for (let i = 0; i <= last; i++) {
    const token = i === last ? text : "";
    const token_id = ids[i] ?? null;
    const data = { token, token_id, cumulative_time_ms, position: position + i };
    messages.push({ event: "token", data: JSON.stringify(data) });
  }
  return messages;
}

function makeEncoder(isDetailed: boolean): Encode {
  return (event: StreamEvent, seq: number): SseMessage[] => {
    switch (event.type) {
      case "token":
        // Tokens are the events after the start, so their place in the log is their position.
        return encodeToken(event, seq);
      case "snapshot": {
        const { text, ids } = event;
        const cumulative_time_ms = Math.round(event.timeMs);
        const data = { text, token_ids: ids, cumulative_time_ms, position: seq };
        return [{ event: "snapshot", data: JSON.stringify(data) }];
      }
      case "complete": {
        const { finishReason, stats } = event;
        const data = {
          total_tokens: stats.generatedTokens,
          total_time_ms: Math.round(stats.totalMs),
          tokens_per_second: rate(stats.generatedTokens, stats.totalMs),
          completed_normally: finishReason !== "cancelled" && finishReason !== "error",
          completion_reason: REASONS[finishReason],
        };
        return [{ event: "complete", data: JSON.stringify(data) }];
      }
      case "error": {
        const data = {
          error_type: errorType(event.code, 500),
          message: event.message,
          recovery_hints: isDetailed ? event.hints : [],
          tokens_before_error: seq - 1,
        };
        return [{ event: "error", data: JSON.stringify(data) }];
      }
      case "queue": {
        const { position } = event;
        return [{ event: "queue", data: JSON.stringify({ position }) }];
      }
      case "prefill": {
        const data = {
          total_tokens: event.totalTokens,
          cached_tokens: event.cachedTokens,
          computed_tokens: event.computedTokens,
        };
        return [{ event: "prefill", data: JSON.stringify(data) }];
      }
      default:
        return [];
    }
  };
}

function accept(body: JsonObject): Exchange {
  const hasOne = (body["prompt"] ?? null) === null
    ? (body["messages"] ?? null) !== null
    : (body["messages"] ?? null) === null;
  const fields = checkFields(
    schema,
    body,
    hasOne ? [] : [{
      field: "prompt",
      message: "expected either prompt or messages, and not both",
    }],
  );
  const repeat_penalty = fields.repeat_penalty ?? fields.repetition_penalty;
  const request = present<GenerateRequest>({
    prompt: fields.prompt,
    messages: fields.messages,
    maxTokens: fields.max_tokens,
    sampling: samplingOptions({ ...fields, repeat_penalty }),
    stop: fields.stop,
    ignoreEos: fields.ignore_eos,
    events: fields.events?.length ? fields.events : undefined,
  });
  const isDetailed = fields.detailed_errors ?? false;
  return {
    request,
    delivery: deliveryOf(fields),
    stream: true,
    encoder: () => makeEncoder(isDetailed),
    errorBody: (error) => errorBody(error, isDetailed),
  };
}

/** `POST /v1/stream`. */
export const native: Dialect = {
  generates: [{ name: "native", path: "/v1/stream", accept, encoder: () => makeEncoder(false) }],
  describes: [],
  shutdown: { event: "shutdown", data: "{}" },
  errorBody: (error) => errorBody(error, false),
};
