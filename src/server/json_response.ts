/**
 * Answers whose body is JSON and whole: what was asked for, or why not.
 *
 * @module
 */
import type { PublicError } from "./public_error.ts";
import { JSON_HEADERS } from "./whole_body.ts";

/** How a failure is written: its JSON body, and its status where a language has its own. */
export interface ErrorBody {
  (error: PublicError): unknown;
  /** Default the status of the failure. */
  readonly status?: (error: PublicError) => number;
}

/** A body as JSON. */
export function json(
  body: unknown,
  status: number,
  headers: Record<string, string> = {},
): Response {
  return new Response(JSON.stringify(body), { status, headers: { ...JSON_HEADERS, ...headers } });
}

/** A failure before the headers; `Retry-After` is whole seconds, at least one. */
export function refusal(error: PublicError, errorBody: ErrorBody): Response {
  const { retryAfterS } = error;
  const headers: Record<string, string> = retryAfterS === undefined
    ? {}
    : { "retry-after": String(Math.max(1, Math.ceil(retryAfterS))) };
  return json(errorBody(error), errorBody.status?.(error) ?? error.status, headers);
}
