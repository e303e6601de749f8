/**
 * What the TGI dialect takes in: `{inputs, parameters}`, with that server's own defaults.
 *
 * @module
 */
import * as v from "valibot";
import type { GenerateRequest, SamplingOptions } from "../../engine/generator.ts";
import type { Delivery } from "../dialect.ts";
import {
  boolean,
  checkFields,
  deliveryFields,
  deliveryOf,
  integerFrom,
  type JsonObject,
  numberFrom,
  objectOf,
  only,
  present,
  samplingFields,
  text,
} from "../fields.ts";
import type { FieldError } from "../../errors.ts";

/** What a request says about its answer. */
export interface TgiOptions {
  readonly hasDetails: boolean;
  /** The prompt is part of `generated_text`. */
  readonly hasFullText: boolean;
  readonly prompt: string;
  /** Null where nothing is drawn. */
  readonly seed: number | null;
}

/** A request that was accepted. */
export interface TgiRequest {
  readonly request: GenerateRequest;
  readonly delivery: Delivery;
  readonly options: TgiOptions;
  /** Counts on the path that answers either way. */
  readonly wantsStream: boolean;
}

const { temperature, top_k, top_p, seed, stop } = samplingFields;
/** A tokenizer adds a few tokens to a prompt and makes at most one of each byte. */
const ADDED_TOKENS_MAX = 8;

const parameters = {
  ...{ temperature, top_k, top_p, seed, stop },
  max_new_tokens: v.nullish(integerFrom(1)),
  repetition_penalty: v.nullish(numberFrom(0.1, 10)),
  do_sample: v.nullish(boolean),
  return_full_text: v.nullish(boolean),
  details: v.nullish(boolean),
  truncate: v.nullish(integerFrom(1)),
  best_of: only("1", (value) => value === 1),
  frequency_penalty: only("0", (value) => value === 0),
  typical_p: only("1", (value) => value === 1),
  watermark: only("false", (value) => value === false),
  decoder_input_details: only("false", (value) => value === false),
  top_n_tokens: only("0", (value) => value === 0),
  grammar: only("null", () => false),
  adapter_id: only("null", () => false),
} as const;

const schema = objectOf("an object", {
  ...deliveryFields,
  inputs: text,
  stream: v.nullish(boolean),
  parameters: v.nullish(objectOf("an object", parameters)),
  /** Drawn for a request without one of its own. */
  seed,
});

type Parameters = v.InferOutput<v.ObjectSchema<typeof parameters, undefined>>;

/** Cutting a prompt is not supported; a length that it cannot exceed changes nothing. */
function truncateErrors({ inputs, parameters }: JsonObject): FieldError[] {
  const limit = (parameters as { truncate?: unknown } | null | undefined)?.truncate;
  if (typeof limit !== "number" || typeof inputs !== "string") return [];
  const mostTokens = new TextEncoder().encode(inputs).length + ADDED_TOKENS_MAX;
  if (limit >= mostTokens) return [];
  const message = `expected at least ${mostTokens} for these inputs or nothing, because this ` +
    `server cuts no prompt, got ${limit}`;
  return [{ field: "parameters.truncate", message }];
}

/** Whether anything is drawn: that server takes the likeliest token unless it is told to draw. */
function isDrawn({ do_sample, temperature, top_k, top_p }: Parameters): boolean {
  return do_sample === true || (temperature ?? 1) !== 1 || (top_k ?? 0) !== 0 || (top_p ?? 1) < 1;
}

function samplingOf(given: Parameters, seed: number | undefined): SamplingOptions {
  const penalty = present<SamplingOptions>({
    repeatPenalty: given.repetition_penalty,
    // It looks at the whole context there.
    repeatLastN: (given.repetition_penalty ?? 1) === 1 ? undefined : -1,
  });
  if (!isDrawn(given)) return { temperature: 0, ...penalty };
  return {
    temperature: given.temperature ?? 1,
    topK: given.top_k ?? 0,
    topP: given.top_p ?? 1,
    minP: 0,
    ...penalty,
    ...(seed !== undefined && { seed }),
  };
}

/**
 * Takes a body.
 *
 * @throws RequestError that names every bad field
 */
export function readRequest(body: JsonObject): TgiRequest {
  const fields = checkFields(schema, body, truncateErrors(body));
  const given = fields.parameters ?? {} as Parameters;
  const seed = [given.seed, fields.seed].find((each) => (each ?? -1) !== -1) ?? undefined;
  const sampling = samplingOf(given, seed);
  return {
    request: present<GenerateRequest>({
      prompt: fields.inputs,
      maxTokens: given.max_new_tokens,
      sampling,
      stop: given.stop,
    }),
    delivery: deliveryOf(fields),
    options: {
      hasDetails: given.details ?? false,
      hasFullText: given.return_full_text ?? false,
      prompt: fields.inputs,
      seed: sampling.temperature === 0 ? null : seed ?? null,
    },
    wantsStream: fields.stream ?? false,
  };
}
