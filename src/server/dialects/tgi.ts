/**
 * The TGI dialect: `/generate`, `/generate_stream`, the older `/` and `/info`, for clients of a
 * server that is no longer developed.
 *
 * One message for each token, and a last one with `generated_text` and, where asked for, `details`;
 * there is no `[DONE]`. That last message carries a special token without text, as an end token
 * does there. What no generator tells is null (`logprob`), and what is not supported is refused.
 *
 * @module
 */
import type { FinishReason, StreamEvent } from "../../stream/event.ts";
import type { SseMessage } from "../../stream/sse.ts";
import type { Completion, Dialect, Encode, Exchange } from "../dialect.ts";
import { type JsonObject, STOPS_MAX } from "../fields.ts";
import type { ErrorBody } from "../json_response.ts";
import { failureOf, type PublicError } from "../public_error.ts";
import { readRequest, type TgiOptions } from "./tgi_request.ts";

const REASONS: Readonly<Partial<Record<FinishReason, string>>> = {
  length: "length",
  stop: "stop_sequence",
};

/** What `error_type` says of a failure. */
function errorType({ code, status }: PublicError): string {
  if (code === "overloaded") return "overloaded";
  if (code === "cancelled") return "incomplete_generation";
  return status < 500 ? "validation" : "generation";
}

/** A status that says what its clients expect; what it does not know stays as it is. */
function statusOf({ code, status, fields }: PublicError): number {
  if (code === "cancelled") return status;
  if (status >= 500) return 424;
  const isValidation = fields.length > 0 || code === "context_length_exceeded";
  return status === 400 && isValidation ? 422 : status;
}

const errorBody: ErrorBody = Object.assign(
  (error: PublicError): unknown => ({ error: error.message, error_type: errorType(error) }),
  { status: statusOf },
);

/** A token as it is told; the id is null where the source has none. */
function tokenOf(id: number | undefined, text: string, special: boolean): unknown {
  return { id: id ?? null, text, logprob: null, special };
}

/** The tokens of one event, as if none had been held back: the text comes with the last one. */
function tokensOf({ ids, text }: { ids: readonly number[]; text: string }): unknown[] {
  const last = Math.max(ids.length, 1) - 1;
  return Array.from(
    { length: last + 1 },
    (_, i) => tokenOf(ids[i], i === last ? text : "", false),
  );
}

/** What a reader gets that asked for nothing. */
const DEFAULTS: TgiOptions = { hasDetails: false, hasFullText: false, prompt: "", seed: null };

/** Needs every event: the last message says all that was generated. */
function makeEncoder(options: TgiOptions): Encode {
  let generated = options.hasFullText ? options.prompt : "";
  let index = 0;
  let lastId: number | undefined;
  let promptTokens = 0;
  const message = (token: unknown, generated_text: string | null, details: unknown) => ({
    data: JSON.stringify({ index: ++index, token, generated_text, details }),
  });
  return (event: StreamEvent): SseMessage[] => {
    const failure = failureOf(event);
    if (failure !== undefined) return [{ data: JSON.stringify(errorBody(failure)) }];
    switch (event.type) {
      case "start":
        promptTokens = event.promptTokens;
        return [];
      case "snapshot":
      case "token": {
        lastId = event.ids.at(-1) ?? lastId;
        const text = event.type === "token" ? event.text : event.reasoning + event.text;
        generated += text;
        return tokensOf({ ids: event.ids, text }).map((token) => message(token, null, null));
      }
      case "complete": {
        const details = {
          finish_reason: REASONS[event.finishReason] ?? "eos_token",
          generated_tokens: event.stats.generatedTokens,
          seed: options.seed,
          input_length: event.stats.promptTokens || promptTokens,
        };
        const end = tokenOf(lastId, "", true);
        return [message(end, generated, options.hasDetails ? details : null)];
      }
      default:
        return [];
    }
  };
}

function answerOf(options: TgiOptions, completion: Completion): unknown {
  const { reasoning, text, finishReason, stats, tokens } = completion;
  const prompt = options.hasFullText ? options.prompt : "";
  const details = {
    finish_reason: REASONS[finishReason] ?? "eos_token",
    generated_tokens: stats.generatedTokens,
    seed: options.seed,
    prefill: [],
    tokens: tokens.flatMap(tokensOf),
  };
  return {
    generated_text: prompt + reasoning + text,
    ...(options.hasDetails && { details }),
  };
}

/** How a path answers. */
type Kind = "whole" | "stream" | "either";

function accept(kind: Kind, body: JsonObject): Exchange {
  const { request, delivery, options, wantsStream } = readRequest(body);
  const accepted = { request, delivery, errorBody };
  if (kind === "stream" || (kind === "either" && wantsStream)) {
    return { ...accepted, stream: true, encoder: () => makeEncoder(options) };
  }
  const answer = (completion: Completion): unknown => {
    const whole = answerOf(options, completion);
    return kind === "either" ? [whole] : whole;
  };
  return { ...accepted, stream: false, answer };
}

/** A path of the dialect. */
function routeOf(name: string, path: string, kind: Kind): Dialect["generates"][number] {
  return {
    name,
    path,
    frames: "plain",
    readsFromStart: true,
    accept: (body) => accept(kind, body),
    encoder: () => makeEncoder(DEFAULTS),
  };
}

/** `POST /generate`, `/generate_stream` and `/`, `GET /info`. */
export const tgi: Dialect = {
  generates: [
    routeOf("tgi", "/generate_stream", "stream"),
    routeOf("tgi_generate", "/generate", "whole"),
    routeOf("tgi_root", "/", "either"),
  ],
  describes: [{
    path: "/info",
    describe: ({ id, fingerprint, n_ctx }) => ({
      model_id: id,
      model_sha: fingerprint ?? null,
      model_pipeline_tag: "text-generation",
      max_best_of: 1,
      max_stop_sequences: STOPS_MAX,
      max_input_tokens: Math.max(0, n_ctx - 1),
      max_total_tokens: n_ctx,
      max_client_batch_size: 1,
      router: "sluice",
    }),
  }],
  errorBody,
};
