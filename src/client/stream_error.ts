/**
 * StreamError: why a stream cannot be started, or cannot be read to its end.
 *
 * @module
 */
import { type FieldError, SluiceError } from "../errors.ts";

/** The closed list of a StreamError's `code`. */
export type StreamErrorCode =
  /** The server does not accept the request (4xx); see `fields`. */
  | "request_refused"
  /** There is no stream of that id, or it is somebody else's (404). */
  | "stream_not_found"
  /** The stream, or the part of it that is missing, is no longer kept (410). */
  | "stream_evicted"
  /** The place to go on from is not one of the stream's (400). */
  | "malformed_cursor"
  /** The place to go on from is after the last event (409). */
  | "cursor_past_end"
  /** The generation failed; `errorType` says how. */
  | "generation_failed"
  /** The server failed before it streamed anything (5xx). */
  | "server_failed"
  /** The server was busy for as long as the client was willing to wait. */
  | "overloaded"
  /** The server could not be reached for as long as the client was willing to wait. */
  | "disconnected"
  /** The answer is not a stream of tokens: `url` is not a server of this kind. */
  | "unexpected_answer"
  /** The client says that it has everything, so nobody said how the stream ended. */
  | "already_delivered";

/** A stream that cannot be started, or cannot be read to its end. */
export class StreamError extends SluiceError {
  /** Why; see the list. */
  declare readonly code: StreamErrorCode;
  /** The server's own word for a failed generation, such as `context` or `generation`. */
  readonly errorType: string | undefined;
  /** Every field of the request that was refused; may be empty. */
  readonly fields: readonly FieldError[];

  /**
   * An error of one stream.
   *
   * @param message one sentence, see the module of errors
   * @param code why
   * @param options the HTTP status where there was one, and what the server said
   */
  constructor(
    message: string,
    code: StreamErrorCode,
    options: {
      status?: number;
      cause?: unknown;
      hints?: readonly string[];
      errorType?: string | undefined;
      fields?: readonly FieldError[];
    } = {},
  ) {
    super(message, code, options.status ?? 500, options);
    this.errorType = options.errorType;
    this.fields = options.fields ?? [];
  }
}
