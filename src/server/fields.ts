/**
 * The request fields that dialects share: their schemas, and how bad ones are told to the client.
 *
 * A field that is null counts as absent, because official clients send it so. Every number has a
 * range, so nothing unchecked reaches the engine.
 *
 * @module
 */
import * as v from "valibot";
import { type FieldError, RequestError } from "../errors.ts";
import type { ChatMessage, SamplingOptions } from "../engine/generator.ts";
import type { Delivery } from "./dialect.ts";

/** A request body as it was read: an object whose fields are not checked yet. */
export type JsonObject = { readonly [field: string]: unknown };

/** Most messages of a chat, and most parts of one message. */
export const MESSAGES_MAX = 4096;
export const PARTS_MAX = 32;
/** Most stop texts, and most characters of one. */
export const STOPS_MAX = 16;
export const STOP_CHARS_MAX = 256;
/** Most bad fields that one answer lists. */
const LISTED_FIELDS_MAX = 64;
/** Longest time that a stream waits for its reader to come back: a day. */
const GRACE_MS_MAX = 86_400_000;
const INT32_MAX = 2 ** 31 - 1;
const UINT32_MAX = 2 ** 32 - 1;

/** A value as an error message shows it: a text is shown where it is too short to be a prompt. */
function show(value: unknown): string {
  if (typeof value === "string") {
    const isWord = /^[\w.+-]{0,8}$/.test(value);
    return isWord ? JSON.stringify(value) : `a text of ${value.length} characters`;
  }
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

/** A schema with one sentence for whatever is wrong; `what` completes "expected ...". */
export function expected<T>(
  what: string,
  accepts: (value: unknown) => boolean,
): v.CustomSchema<T, (issue: v.CustomIssue) => string> {
  return v.custom<T, (issue: v.CustomIssue) => string>(
    accepts,
    (issue) => `expected ${what}, got ${show(issue.input)}`,
  );
}

/** An object of fields; `what` names it where something else came. */
export function objectOf<const E extends v.ObjectEntries>(
  what: string,
  entries: E,
): v.ObjectSchema<E, (issue: v.ObjectIssue) => string> {
  // The issue of a missing field has a path, that of a wrong value has none.
  return v.object(
    entries,
    (issue: v.ObjectIssue) =>
      issue.path === undefined
        ? `expected ${what}, got ${show(issue.input)}`
        : "expected it to be given, it has no default",
  );
}

/** A finite number in a closed range. */
export function numberFrom(min: number, max: number): ReturnType<typeof expected<number>> {
  return expected<number>(
    `a number from ${min} to ${max}`,
    (value) => typeof value === "number" && value >= min && value <= max,
  );
}

/** A whole number in a closed range. */
export function integerFrom(min: number, max = INT32_MAX): ReturnType<typeof expected<number>> {
  return expected<number>(
    `an integer from ${min} to ${max}`,
    (value) => Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max,
  );
}

/** true or false. */
export const boolean = expected<boolean>("true or false", (value) => typeof value === "boolean");

/** A text that is not empty. */
export const text = expected<string>(
  "a text that is not empty",
  (value) => typeof value === "string" && value !== "",
);

/** A text, the empty one too. */
export const anyText = expected<string>("a text", (value) => typeof value === "string");

/**
 * A field that the server knows and serves with one value only, the one that clients send by
 * default.
 */
export function only(
  what: string,
  accepts: (value: unknown) => boolean,
): v.NullishSchema<ReturnType<typeof expected<unknown>>, undefined> {
  const sentence = `${what} or nothing, because this server supports nothing else`;
  return v.nullish(expected<unknown>(sentence, accepts), undefined);
}

const part = objectOf("a part with type and text", {
  type: expected<"text">(
    '"text", the only part that this model reads',
    (value) => value === "text",
  ),
  text: anyText,
});
const partList = expected<never>(
  `a text or an array of at most ${PARTS_MAX} text parts`,
  () => false,
);

/** Text, or text parts, which are joined by line feeds. */
const content = v.lazy((value): v.GenericSchema<unknown, string> => {
  if (typeof value === "string") return v.string();
  if (!Array.isArray(value) || value.length > PARTS_MAX) return partList;
  return v.pipe(v.array(part), v.transform((parts) => parts.map((each) => each.text).join("\n")));
});

const ROLES: readonly unknown[] = ["system", "developer", "user", "assistant", "tool"];
const role = expected<string>(
  "one of system, developer, user, assistant, tool",
  (value) => ROLES.includes(value),
);

/** A message; an assistant's may have no content. Newer clients say "developer" for "system". */
const message = v.lazy((value) => {
  const isAssistant = (value as { role?: unknown } | null)?.role === "assistant";
  return v.pipe(
    objectOf("a message with role and content", {
      role,
      content: isAssistant ? v.nullish(content, "") : content,
      name: v.nullish(anyText),
    }),
    v.transform(({ role, content, name }): ChatMessage => ({
      role: role === "developer" ? "system" : role,
      content,
      ...(name ? { name } : {}),
    })),
  );
});
const messageList = expected<never>(`an array of 1 to ${MESSAGES_MAX} messages`, () => false);

/** A chat that has at least one message. */
export const messages = v.lazy((value): v.GenericSchema<unknown, ChatMessage[]> => {
  const fits = Array.isArray(value) && value.length > 0 && value.length <= MESSAGES_MAX;
  return fits ? v.array(message) : messageList;
});

const isStop = (value: unknown): boolean =>
  typeof value === "string" && value !== "" && value.length <= STOP_CHARS_MAX;

/** One stop text or several. */
const stop = v.pipe(
  expected<string | string[]>(
    `a text of 1 to ${STOP_CHARS_MAX} characters or an array of at most ${STOPS_MAX} of them`,
    (value) =>
      Array.isArray(value) ? value.length <= STOPS_MAX && value.every(isStop) : isStop(value),
  ),
  v.transform((value) => typeof value === "string" ? [value] : value),
);

/** Fields that mean the same in every dialect that has them. */
export const samplingFields = {
  max_tokens: v.nullish(integerFrom(1)),
  temperature: v.nullish(numberFrom(0, 2)),
  top_k: v.nullish(integerFrom(0)),
  top_p: v.nullish(numberFrom(0, 1)),
  min_p: v.nullish(numberFrom(0, 1)),
  repeat_penalty: v.nullish(numberFrom(0.1, 10)),
  repeat_last_n: v.nullish(integerFrom(-1)),
  /** -1 asks for a random one, as absence does. */
  seed: v.nullish(integerFrom(-1, UINT32_MAX)),
  stop: v.nullish(stop),
  ignore_eos: v.nullish(boolean),
} as const;

const isGrace = (value: unknown): boolean => {
  const ms = (value as { grace_ms?: unknown } | null)?.grace_ms;
  return Number.isSafeInteger(ms) && Number(ms) >= 0 && Number(ms) <= GRACE_MS_MAX;
};

/** What a client says about its stream rather than about its tokens, in every dialect. */
export const deliveryFields = {
  on_disconnect: v.nullish(expected<"cancel" | "continue" | "pause" | { grace_ms: number }>(
    `"cancel", "continue", "pause" or {"grace_ms": an integer from 0 to ${GRACE_MS_MAX}}`,
    (value) => ["cancel", "continue", "pause"].includes(value as string) || isGrace(value),
  )),
  /** false: the stream and its request are kept in no store. */
  resumable: v.nullish(boolean),
  /** false: a disconnect only detaches, as `on_disconnect: "continue"`. */
  cancellable: v.nullish(boolean),
} as const;

/** The delivery out of the wire's names. */
export function deliveryOf(
  { on_disconnect, resumable, cancellable }: v.InferOutput<
    v.ObjectSchema<typeof deliveryFields, undefined>
  >,
): Delivery {
  const onDisconnect = on_disconnect ?? (cancellable === false ? "continue" : "cancel");
  return {
    onDisconnect: typeof onDisconnect === "object"
      ? { graceMs: onDisconnect.grace_ms }
      : onDisconnect,
    isResumable: resumable ?? true,
  };
}

/** What `samplingFields` give once they are checked. */
export type SamplingFields = v.InferOutput<v.ObjectSchema<typeof samplingFields, undefined>>;

/** Drops the fields that are absent, so that the engine's defaults apply. */
export function present<T extends object>(
  fields: { [K in keyof T]: T[K] | null | undefined },
): Partial<T> {
  const entries = Object.entries(fields).filter(([, value]) =>
    value !== undefined && value !== null
  );
  return Object.fromEntries(entries) as Partial<T>;
}

/** The engine's sampling options out of the wire's names. */
export function samplingOptions(fields: SamplingFields): SamplingOptions {
  return present<SamplingOptions>({
    temperature: fields.temperature,
    topK: fields.top_k,
    topP: fields.top_p,
    minP: fields.min_p,
    repeatPenalty: fields.repeat_penalty,
    repeatLastN: fields.repeat_last_n,
    seed: fields.seed === -1 ? undefined : fields.seed,
  });
}

function fieldPath(issue: v.BaseIssue<unknown>): string {
  let path = "";
  for (const { key } of issue.path ?? []) {
    path += typeof key === "number" ? `[${key}]` : path === "" ? String(key) : `.${String(key)}`;
  }
  return path;
}

/**
 * Checks a body against its schema.
 *
 * @param more what the dialect itself found wrong, listed after the schema's findings
 * @throws RequestError that names every bad field
 */
export function checkFields<T>(
  schema: v.GenericSchema<unknown, T>,
  body: JsonObject,
  more: readonly FieldError[] = [],
): T {
  const result = v.safeParse(schema, body);
  const fields = [
    ...(result.issues ?? []).map((issue) => ({ field: fieldPath(issue), message: issue.message })),
    ...more,
  ];
  if (result.success && fields.length === 0) return result.output;
  const listed = fields.slice(0, LISTED_FIELDS_MAX);
  const rest = fields.length - listed.length;
  const sentence = listed.map(({ field, message }) => `${field}: ${message}`).join("; ");
  throw new RequestError(
    `Cannot accept the request: ${sentence}${rest > 0 ? `; and ${rest} more` : ""}`,
    listed,
  );
}
