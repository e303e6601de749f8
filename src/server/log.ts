/**
 * The log of a server: structured records of LogTape, silent where the program configures nothing.
 *
 * No record holds what a client or a model has said, a key, a ticket, a query or a path of a file.
 * A stream goes by the start of its id, because whoever knows an id can read the stream.
 *
 * @module
 */
import { getConfig, getLogger, type Logger } from "@logtape/logtape";
import type { FinishReason } from "../stream/event.ts";
import type { StreamNote } from "../stream/note.ts";
import { SluiceError } from "../errors.ts";
import type { Outcome } from "./ending.ts";
import { failure as sentenceOf } from "./public_error.ts";

/** Whose records they are; the second part of their category, after `sluice`. */
export type LogPart = "server" | "stream" | "store" | "engine";

/** A request that is over, as the log knows it. */
export interface RequestRecord {
  readonly requestId: string;
  readonly method: string;
  /** Pattern of the route. */
  readonly route: string;
  readonly status: number;
  readonly ms: number;
  /** Undefined where the body was whole from the start. */
  readonly bytes?: number;
  /** How a body that is made while it is read came to its end. */
  readonly outcome?: Outcome;
  /** Start of the id of the stream, where the answer is one. */
  readonly stream?: string;
}

/** A generation that is over. */
export interface GenerationRecord {
  readonly requestId?: string;
  readonly finishReason: FinishReason;
  readonly promptTokens: number;
  readonly tokens: number;
  readonly ms: number;
}

/** What the log says of a failure; nothing of it can hold what a client has said. */
export interface FailureRecord {
  /** Class of the error. */
  readonly error: string;
  readonly code?: string;
  /** Our own sentence without its values, or the fixed one of the code. */
  readonly reason: string;
  /** Where it was thrown, innermost first: functions, names of files, lines. */
  readonly at: readonly string[];
  /** The same of what caused it. */
  readonly cause?: FailureRecord;
}

const FRAMES_MAX = 8;
const STREAM_ID_CHARS = 8;
/** A line of a stack: a function if it has a name, then a file in its folders. */
const FRAME = /^\s+at (?:(?:async )?(\S+) )?\(?.*?([^/\\():]+:\d+:\d+)\)?$/;
const WORD = /^[\w$.<>#-]{1,60}$/;

/** A stream's id as records show it. */
export function shortId(id: string): string {
  return id.slice(0, STREAM_ID_CHARS);
}

/** A sentence of ours without what it quotes, and without anything that could be a path. */
function withoutValues(sentence: string): string {
  return sentence
    .replaceAll(/"(?:[^"\\]|\\.)*"?/g, '"…"')
    .replaceAll(/`[^`]*`/g, '"…"')
    .replaceAll(/\S*[/\\]\S*/g, "…");
}

/** The frames of a stack, without its message and without folders. */
function framesOf(stack: unknown, message: unknown): string[] {
  if (typeof stack !== "string" || typeof message !== "string") return [];
  // A message may look like frames, and one that was changed since is somewhere in between.
  const at = stack.indexOf(message);
  const lines = at < 0 ? [] : stack.slice(at + message.length).split("\n");
  return lines.flatMap((line) => {
    const [, name, file] = FRAME.exec(line) ?? [];
    if (file === undefined || !/^[\w.-]+\.[cm]?[jt]sx?:\d+:\d+$/.test(file)) return [];
    return [name !== undefined && WORD.test(name) ? `${name} ${file}` : file];
  }).slice(0, FRAMES_MAX);
}

/** What may be said of whatever was thrown, or of an error event. */
export function failureRecord(thrown: unknown, depth = 0): FailureRecord {
  const { name, code, message, stack, cause } = (thrown ?? {}) as Partial<Record<string, unknown>>;
  const isOurs = thrown instanceof SluiceError;
  const codeText = typeof code === "string" && WORD.test(code) ? code : undefined;
  const error = typeof name === "string" && WORD.test(name) ? name : typeof thrown;
  // What a server behind this one has said may be a prompt.
  const reason = isOurs && codeText !== "upstream_error"
    ? withoutValues(thrown.message)
    : sentenceOf(codeText ?? "internal_error").message;
  return {
    error,
    ...(codeText !== undefined && { code: codeText }),
    reason,
    at: framesOf(stack, message),
    ...(cause instanceof Error && depth < 2 && { cause: failureRecord(cause, depth + 1) }),
  };
}

/** Writes what happens; see the module. */
export class ServerLog {
  readonly #loggers: Readonly<Record<LogPart, Logger>> = {
    server: getLogger(["sluice", "server"]),
    stream: getLogger(["sluice", "stream"]),
    store: getLogger(["sluice", "store"]),
    engine: getLogger(["sluice", "engine"]),
  };

  /** The one line of each request. */
  request(record: RequestRecord): void {
    this.#loggers.server.info("request", { ...record });
  }

  /** The model is there. */
  loaded(model: string, ms: number): void {
    this.#loggers.engine.info("model loaded", { model, ms: Math.round(ms) });
  }

  /** Packed weights could not be kept, or the file of them was damaged. */
  unkept(reason: string): void {
    this.#loggers.engine.warn("packed weights", { reason: withoutValues(reason) });
  }

  /** A generation is over. */
  generation(record: GenerationRecord): void {
    this.#loggers.engine.debug("generation ended", { ...record });
  }

  /** What happens to streams. */
  stream({ type, id, ...more }: StreamNote): void {
    const { stream } = this.#loggers;
    const properties = { stream: shortId(id), ...more };
    if (type === "evicted") stream.warn("reader evicted", properties);
    else if (type === "joined" || type === "left") stream.debug(`reader ${type}`, properties);
    else stream.debug(`stream ${type}`, properties);
  }

  /** Chunks of a stream went out as one. */
  flush(id: string, bytes: number): void {
    this.#loggers.stream.debug("chunks flushed", { stream: shortId(id), bytes });
  }

  /** A limit was met. */
  limit(limit: string): void {
    this.#loggers.server.warn("limit met", { limit });
  }

  /** A failure that its client gets only a sentence about. */
  failure(part: LogPart, thrown: unknown): void {
    this.#loggers[part].error("failure", { ...failureRecord(thrown) });
  }

  /** Whether the program has said where records go. */
  get isConfigured(): boolean {
    return getConfig() !== null;
  }
}
