/**
 * What the OpenAI dialect takes in: the fields of chat completions and completions.
 *
 * @module
 */
import * as v from "valibot";
import type { GenerateRequest } from "../../engine/generator.ts";
import type { AnswerContext, Exchange } from "../dialect.ts";
import {
  anyText,
  boolean,
  checkFields,
  deliveryFields,
  deliveryOf,
  expected,
  integerFrom,
  type JsonObject,
  messages,
  objectOf,
  only,
  present,
  samplingFields,
  samplingOptions,
} from "../fields.ts";
import type { PublicError } from "../public_error.ts";
import {
  chatShape,
  completionShape,
  makeEncoder,
  type Shape,
  wholeAnswer,
} from "./openai_response.ts";

const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;
const isEmptyObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.keys(value).length === 0;

/** Fields of both routes. */
const sharedFields = {
  ...samplingFields,
  ...deliveryFields,
  model: v.nullish(anyText),
  max_completion_tokens: v.nullish(integerFrom(1)),
  stream: v.nullish(boolean),
  stream_options: v.nullish(
    objectOf("an object that may have include_usage", { include_usage: v.nullish(boolean) }),
  ),
  n: only("1", (value) => value === 1),
  presence_penalty: only("0", (value) => value === 0),
  frequency_penalty: only("0", (value) => value === 0),
  logit_bias: only("an empty object", isEmptyObject),
  logprobs: only("false", (value) => value === false),
} as const;

const chatSchema = objectOf("an object", {
  ...sharedFields,
  messages,
  top_logprobs: only("0", (value) => value === 0),
  tools: only("an empty array", isEmptyList),
  functions: only("an empty array", isEmptyList),
  response_format: only(
    'the type "text"',
    (value) => (value as { type?: unknown }).type === "text",
  ),
});

const prompt = v.pipe(
  expected<string | [string]>("a text that is not empty, or an array of one", (value) => {
    const only = Array.isArray(value) && value.length === 1 ? value[0] : value;
    return typeof only === "string" && only !== "";
  }),
  v.transform((value) => typeof value === "string" ? value : value[0]),
);

const completionSchema = objectOf("an object", {
  ...sharedFields,
  prompt,
  best_of: only("1", (value) => value === 1),
  echo: only("false", (value) => value === false),
  suffix: only("an empty text", (value) => value === ""),
});

type ErrorBody = (error: PublicError) => unknown;
type Fields = v.InferOutput<v.ObjectSchema<typeof sharedFields, undefined>>;

function makeExchange(
  shape: Shape,
  fields: Fields,
  input: Pick<GenerateRequest, "prompt" | "messages">,
  context: AnswerContext,
  errorBody: ErrorBody,
): Exchange {
  const request = {
    ...input,
    ...present<GenerateRequest>({
      maxTokens: fields.max_completion_tokens ?? fields.max_tokens,
      sampling: samplingOptions(fields),
      stop: fields.stop,
      ignoreEos: fields.ignore_eos,
    }),
  };
  const accepted = { request, delivery: deliveryOf(fields), errorBody };
  if (fields.stream !== true) {
    return { ...accepted, stream: false, answer: wholeAnswer.bind(undefined, shape, context) };
  }
  const includeUsage = fields.stream_options?.include_usage ?? false;
  const encoder = makeEncoder.bind(undefined, shape, context, includeUsage, errorBody);
  return { ...accepted, stream: true, encoder };
}

/** Takes the body of a chat completion. */
export function acceptChat(
  body: JsonObject,
  context: AnswerContext,
  errorBody: ErrorBody,
): Exchange {
  const fields = checkFields(chatSchema, body);
  return makeExchange(chatShape, fields, { messages: fields.messages }, context, errorBody);
}

/** Takes the body of a completion. */
export function acceptCompletion(
  body: JsonObject,
  context: AnswerContext,
  errorBody: ErrorBody,
): Exchange {
  const fields = checkFields(completionSchema, body);
  return makeExchange(completionShape, fields, { prompt: fields.prompt }, context, errorBody);
}
