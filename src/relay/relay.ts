/**
 * relay(): a server that speaks OpenAI's language as a Generator.
 *
 * Pull, never push: the upstream is read when somebody wants the next event, and let go of as soon
 * as nobody does. What it does not tell is not made up: tokens have no ids, because it sends text,
 * and one token event is one piece of text as it sent it, which may be more or less than a token.
 * So a stream of a relay cannot go on in another process.
 *
 * @module
 */
import { RequestError, SluiceError, UpstreamError } from "../errors.ts";
import type { GenerateRequest, Generator, ModelInfo } from "../engine/generator.ts";
import type { StreamEvent } from "../stream/event.ts";
import { Chunks } from "./chunks.ts";
import { bodyOf, type Fetch, Upstream } from "./upstream.ts";

/** Where a relay reads from; all but the first two fields have defaults. */
export interface RelayOptions {
  /** Address of the upstream with `/v1` at its end, such as `http://localhost:8000/v1`. */
  baseURL: string;
  /** Name of the model, there and here. */
  model: string;
  /** Sent as `Authorization: Bearer`. Default none. */
  apiKey?: string;
  /** Sent with every request beside the key. Default none. */
  headers?: Readonly<Record<string, string>>;
  /** Tokens that one sequence can hold there, for whoever asks; 0, the default, is unknown. */
  contextLength?: number;
  /**
   * How long a refusal of the upstream still becomes a status of its own, in milliseconds. After
   * that the stream begins, so that its client hears that somebody is there, and a refusal is an
   * error event. Default 3000.
   */
  startMs?: number;
  /**
   * Longest silence of the upstream while something is wanted of it, in milliseconds: before it
   * answers and between its bytes. Default 300000.
   */
  silenceMs?: number;
  /** Default the global one. */
  fetch?: Fetch;
}

/** A timer that is set to more fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

function invalid(name: string, value: unknown, expected: string): SluiceError {
  const message = `Cannot make the relay: ${name} is ${
    JSON.stringify(value)
  }, expected ${expected}`;
  return new SluiceError(message, "invalid_option", 500);
}

function checkMs(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= TIMER_MS_MAX) return value;
  throw invalid(name, value, `an integer from 1 to ${TIMER_MS_MAX}`);
}

function checkUrl(baseURL: string): string {
  const url = URL.parse(baseURL);
  const isFit = url !== null && /^https?:$/.test(url.protocol) && url.username === "" &&
    url.password === "" && url.search === "" && url.hash === "";
  if (isFit) return url.href.replace(/\/+$/, "");
  // It may hold a password.
  throw invalid("baseURL", "<hidden>", 'an address such as "http://localhost:8000/v1", keys apart');
}

/** A failure after the start event, as the event that it becomes. */
function errorEvent(thrown: unknown): StreamEvent {
  const { code, message, hints } = thrown instanceof UpstreamError
    ? thrown
    // A refusal that came too late for a status.
    : new UpstreamError(thrown instanceof SluiceError ? thrown.message : "The relay failed");
  return { type: "error", code, message, hints: [...hints] };
}

class Relay implements Generator {
  readonly model: ModelInfo;
  readonly #upstream: Upstream;
  readonly #startMs: number;

  constructor(options: RelayOptions) {
    const { model, contextLength = 0, startMs = 3000, silenceMs = 300_000 } = options;
    if (model === "") throw invalid("model", model, "the name of a model");
    this.#startMs = checkMs("startMs", startMs);
    this.#upstream = new Upstream({
      baseURL: checkUrl(options.baseURL),
      headers: {
        ...options.headers,
        ...(options.apiKey !== undefined && { authorization: `Bearer ${options.apiKey}` }),
      },
      silenceMs: checkMs("silenceMs", silenceMs),
      // Called without a receiver, as some runtimes demand of theirs.
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    });
    const created = Math.floor(Date.now() / 1000);
    this.model = { id: model, created, n_ctx: contextLength, n_vocab: 0 };
  }

  async *generate(
    request: GenerateRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    if ((request.resume?.seq ?? 0) > 0) {
      throw new RequestError(
        "Cannot go on with the stream: the process that relayed it is lost, ask again",
        [],
        { code: "not_continuable", status: 409 },
      );
    }
    const left = new AbortController();
    const either = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
    const chunks = new Chunks(this.#upstream.open(bodyOf(request, this.model.id), either));
    try {
      await chunks.opened(this.#startMs);
      yield { type: "start", replay: null, promptTokens: 0 };
      yield* this.#events(chunks, either);
    } finally {
      left.abort();
    }
  }

  async *#events(
    chunks: Chunks,
    signal: AbortSignal,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    try {
      while (!signal.aborted) {
        const event = await chunks.next();
        if (event === undefined) break;
        yield event;
      }
    } catch (thrown) {
      if (!signal.aborted) {
        yield errorEvent(thrown);
        return;
      }
    }
    yield* chunks.ending(signal.aborted);
  }
}

/**
 * A Generator over a server that speaks OpenAI's language, stream and all: vLLM, llama-server,
 * sluice. Opens no connection before the first request.
 *
 * Messages go to `/chat/completions` and raw text to `/completions`. Before the stream has begun a
 * bad request is a RequestError, and an upstream without room or time an OverloadedError; whatever
 * else fails there is an UpstreamError, of which clients hear one sentence.
 *
 * @throws SluiceError `invalid_option` where an option is not what its field says
 */
export function relay(options: RelayOptions): Generator {
  return new Relay(options);
}
