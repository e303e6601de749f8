/**
 * What a client may be told of a failure.
 *
 * A refusal (4xx) is told as it was thrown. A failure of ours is told by one fixed sentence for its
 * code: messages of that kind can hold paths, and belong in the server's log.
 *
 * @module
 */
import { type FieldError, OverloadedError, RequestError, SluiceError } from "../errors.ts";
import type { ErrorEvent, StreamEvent } from "../stream/event.ts";

/** A failure as dialects write it. */
export interface PublicError {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly fields: readonly FieldError[];
  readonly hints: readonly string[];
  /** Seconds for the Retry-After header. */
  readonly retryAfterS?: number;
}

const SENTENCES = {
  invalid_gguf: "Cannot use the model: its file is damaged",
  model_error: "Cannot use the model: it could not be loaded",
  setup_error: "Cannot use the model: the set-up is not complete",
  disposed: "Cannot use the model: it was unloaded",
  library_error: "Cannot finish the generation: the native library failed",
  shape_error: "Cannot finish the generation: the model's graph is not valid",
  engine_error: "Cannot finish the generation: the engine failed",
  upstream_error: "Cannot finish the generation: the server behind this one failed",
  cancelled: "Cannot finish the generation: it was cancelled",
  internal_error: "Cannot answer the request: the server failed",
} as const;

/** Codes of failures that are not the client's. */
export type FailureCode = keyof typeof SENTENCES;

/** A failure of ours by its code; an unknown one is an internal error and says nothing more. */
export function failure(code: string, hints: readonly string[] = []): PublicError {
  const known = Object.hasOwn(SENTENCES, code);
  const name: FailureCode = known ? code as FailureCode : "internal_error";
  return {
    status: 500,
    code: name,
    message: SENTENCES[name],
    fields: [],
    hints: known ? hints : [],
  };
}

/** What may be told of whatever was thrown. */
export function publicError(thrown: unknown): PublicError {
  if (!(thrown instanceof SluiceError)) return failure("internal_error");
  const { status, code, message, hints } = thrown;
  if (status >= 500) return failure(code, hints);
  return {
    status,
    code,
    message,
    fields: thrown instanceof RequestError ? thrown.fields : [],
    hints,
    ...(thrown instanceof OverloadedError ? { retryAfterS: thrown.retryAfterS } : {}),
  };
}

/** What may be told of a failure after the headers. */
export function publicEvent(event: ErrorEvent): ErrorEvent {
  const { code, message, hints } = failure(event.code, event.hints);
  return { type: "error", code, message, hints: [...hints] };
}

/** The envelope of dialects that have no codes: a sentence, and what is wrong with which field. */
export function plainErrorBody({ message, fields }: PublicError): unknown {
  return { error: message, ...(fields.length > 0 && { fields }) };
}

/** What an event says of an answer that is not whole; undefined where it says nothing of it. */
export function failureOf(event: StreamEvent): PublicError | undefined {
  if (event.type === "error") return { ...event, status: 500, fields: [] };
  if (event.type !== "complete") return undefined;
  const { finishReason } = event;
  return finishReason === "cancelled" || finishReason === "error"
    ? failure("cancelled")
    : undefined;
}
