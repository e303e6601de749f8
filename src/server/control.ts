/**
 * What `POST /v1/streams/{id}/control` takes: stop, extend, set_params.
 *
 * @module
 */
import type { GenerateRequest } from "../engine/generator.ts";
import type { Change } from "../engine/steering.ts";
import {
  checkFields,
  expected,
  type JsonObject,
  objectOf,
  samplingFields,
  samplingOptions,
} from "./fields.ts";

/** One control that a client asks for. */
export type Control = { readonly action: "stop" } | {
  readonly action: "extend" | "set_params";
  readonly change: Change;
};

const ACTIONS: readonly unknown[] = ["stop", "extend", "set_params"];
/** What cannot change once a stream has begun. */
const FIXED = ["seed", "stop", "ignore_eos"] as const;

const schema = objectOf("an object with an action", {
  ...samplingFields,
  action: expected<Control["action"]>(
    'one of "stop", "extend", "set_params"',
    (value) => ACTIONS.includes(value),
  ),
});

/**
 * Reads a control: `extend` with `max_tokens`, the new most in all; `set_params` with any sampling
 * field but the seed, and `max_tokens`.
 *
 * @throws RequestError that names every bad field
 */
export function readControl(body: JsonObject): Control {
  const fixed = FIXED.filter((name) => (body[name] ?? null) !== null);
  const isExtend = body["action"] === "extend";
  const fields = checkFields(schema, body, [
    ...fixed.map((field) => ({ field, message: "cannot change once the stream has begun" })),
    ...(isExtend && (body["max_tokens"] ?? null) === null
      ? [{ field: "max_tokens", message: "expected the new number of tokens in all" }]
      : []),
  ]);
  if (fields.action === "stop") return { action: "stop" };
  const { seed: _, ...sampling } = samplingOptions(fields);
  return {
    action: fields.action,
    change: {
      ...(fields.max_tokens && { maxTokens: fields.max_tokens }),
      ...(fields.action === "set_params" && { sampling }),
    },
  };
}

/** Both changes as one; the later wins. */
export function mergeChanges(earlier: Change | undefined, later: Change): Change {
  return { ...earlier, ...later, sampling: { ...earlier?.sampling, ...later.sampling } };
}

/** A request as it is after its changes. */
export function changed(request: GenerateRequest, change: Change | undefined): GenerateRequest {
  if (change === undefined) return request;
  return {
    ...request,
    ...(change.maxTokens !== undefined && { maxTokens: change.maxTokens }),
    sampling: { ...request.sampling, ...change.sampling },
  };
}
