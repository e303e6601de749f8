/**
 * The closed set of errors that sluice throws, each with a stable code and its HTTP status.
 *
 * A message is one sentence: what failed, the value, what was expected, and what to do.
 *
 * @module
 */

/** Base of every error that sluice throws on purpose. */
export class SluiceError extends Error {
  /** Stable, machine-readable name of the failure. */
  readonly code: string;
  /** HTTP status of the failure when it happens before the headers are sent. */
  readonly status: number;
  /** What the caller can try next; may be empty. */
  readonly hints: readonly string[];
  /** Name of the option whose limit was met, such as `queueMax`; undefined where none was. */
  readonly limit: string | undefined;

  /**
   * An error with its code and status.
   *
   * @param message one sentence, see the module's rule
   * @param code stable name, lower case with underscores
   * @param status HTTP status
   * @param options `cause` as in `Error`, `hints` and `limit`
   */
  constructor(
    message: string,
    code: string,
    status: number,
    options: { cause?: unknown; hints?: readonly string[]; limit?: string | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.status = status;
    this.hints = options.hints ?? [];
    this.limit = options.limit;
  }
}

/** One field of a request that is not acceptable. */
export interface FieldError {
  /** Path of the field as the client wrote it, such as `messages[0].role`. */
  field: string;
  /** What is wrong with it and what was expected. */
  message: string;
}

/** The request cannot be accepted as it is; lists every bad field at once. */
export class RequestError extends SluiceError {
  /** Every field that was refused; empty when the failure is not about one field. */
  readonly fields: readonly FieldError[];

  /**
   * An error of the caller, with the fields at fault.
   *
   * @param message one sentence, see the module's rule
   * @param fields every field that was refused
   * @param options a code and a status other than `invalid_request` and 400, and as in the base
   */
  constructor(
    message: string,
    fields: readonly FieldError[] = [],
    options: {
      code?: string;
      status?: number;
      cause?: unknown;
      hints?: readonly string[];
      limit?: string;
    } = {},
  ) {
    super(message, options.code ?? "invalid_request", options.status ?? 400, options);
    this.fields = fields;
  }
}

/** The prompt does not fit in the context of the model as it was loaded. */
export class ContextFullError extends RequestError {
  /** Tokens of the prompt. */
  readonly n_prompt: number;
  /** Tokens that the context holds. */
  readonly n_ctx: number;

  /**
   * The error of a prompt of this length.
   *
   * @param n_prompt tokens of the prompt
   * @param n_ctx tokens that the context holds
   */
  constructor(n_prompt: number, n_ctx: number) {
    super(
      `Cannot start the generation: the prompt has ${n_prompt} tokens and the context holds ` +
        `${n_ctx}, shorten the prompt or raise --ctx-size`,
      [],
      {
        code: "context_length_exceeded",
        limit: "ctxSize",
        hints: ["Shorten the prompt.", "Load the model with a larger context."],
      },
    );
    this.n_prompt = n_prompt;
    this.n_ctx = n_ctx;
  }
}

/** No room for another request now; try again after `retryAfterS` seconds. */
export class OverloadedError extends SluiceError {
  /** Seconds after which a new attempt makes sense. */
  readonly retryAfterS: number;

  /**
   * A refusal for now.
   *
   * @param message one sentence, see the module's rule
   * @param retryAfterS seconds after which a new attempt makes sense
   * @param code what there is no room in; default `overloaded`, the server itself
   * @param limit name of the option whose limit was met
   */
  constructor(message: string, retryAfterS: number, code = "overloaded", limit?: string) {
    super(message, code, 429, { hints: ["Wait and try again."], limit });
    this.retryAfterS = retryAfterS;
  }
}

/** A GGUF file is damaged, hostile or not what its header says. */
export class GgufError extends SluiceError {
  /** Path of the file. */
  readonly file: string;
  /** Metadata key or tensor name where the reader stopped, if any. */
  readonly key: string | undefined;
  /** Byte offset where the reader stopped. */
  readonly offset: number;

  /**
   * The error of one place in a file.
   *
   * @param message one sentence, see the module's rule
   * @param file path of the file
   * @param key metadata key or tensor name where the reader stopped, if any
   * @param offset byte offset where the reader stopped
   * @param options `cause` as in `Error`
   */
  constructor(
    message: string,
    file: string,
    key: string | undefined,
    offset: number,
    options: { cause?: unknown } = {},
  ) {
    super(message, "invalid_gguf", 500, options);
    this.file = file;
    this.key = key;
    this.offset = offset;
  }
}

/** A model cannot be loaded or lacks something that its architecture needs. */
export class ModelError extends SluiceError {
  /**
   * An error of a model.
   *
   * @param message one sentence, see the module's rule
   * @param options `cause` as in `Error`, and `hints`
   */
  constructor(message: string, options: { cause?: unknown; hints?: readonly string[] } = {}) {
    super(message, "model_error", 500, options);
  }
}

/** The native library is missing, of another version, or one of its calls failed. */
export class LibraryError extends SluiceError {
  /**
   * An error of the native library.
   *
   * @param message one sentence, see the module's rule
   * @param options `cause` as in `Error`, and `hints`
   */
  constructor(message: string, options: { cause?: unknown; hints?: readonly string[] } = {}) {
    super(message, "library_error", 500, options);
  }
}

/** An op was recorded with shapes or types that its definition does not allow. */
export class ShapeError extends SluiceError {
  /**
   * An error of one op.
   *
   * @param message one sentence, see the module's rule
   */
  constructor(message: string) {
    super(message, "shape_error", 500);
  }
}

/** The engine stopped while it was needed. */
export class EngineError extends SluiceError {
  /**
   * An error of the engine.
   *
   * @param message one sentence, see the module's rule
   * @param options `cause` as in `Error`, and `hints`
   */
  constructor(message: string, options: { cause?: unknown; hints?: readonly string[] } = {}) {
    super(message, "engine_error", 500, options);
  }
}

/** Something was used after it was disposed. */
export class DisposedError extends SluiceError {
  /**
   * The error of one thing.
   *
   * @param what the thing that was used, with its article
   */
  constructor(what: string) {
    super(`Cannot use ${what}: it is disposed, load it again`, "disposed", 500);
  }
}

/** A set-up step failed: a tool is missing, a download has the wrong hash, the disk is full. */
export class SetupError extends SluiceError {
  /**
   * An error of a step.
   *
   * @param message one sentence, see the module's rule
   * @param options `cause` as in `Error`, and `hints`
   */
  constructor(message: string, options: { cause?: unknown; hints?: readonly string[] } = {}) {
    super(message, "setup_error", 500, options);
  }
}

/** A server that a relay reads from failed, or said something that is no answer. */
export class UpstreamError extends SluiceError {
  /**
   * An error of one server.
   *
   * @param message one sentence, see the module's rule
   * @param options `cause` as in `Error`, and `hints`
   */
  constructor(message: string, options: { cause?: unknown; hints?: readonly string[] } = {}) {
    super(message, "upstream_error", 502, options);
  }
}
