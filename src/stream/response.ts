/**
 * StreamResponse: what a program reads that wants text and token ids and no events.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";
import type { StreamingConfig } from "./config.ts";
import type { StreamEvent } from "./event.ts";
import { within } from "./within.ts";

/** A piece of an answer: one token, or several where the config groups them. */
export interface StreamResponse {
  /** Whole code points only; may be empty while one is held back. */
  text: string;
  /** Ids as the engine sampled them, in order. */
  tokenIds: number[];
}

/** No token came in time. */
export class TokenTimeoutError extends SluiceError {
  /**
   * The error of one wait.
   *
   * @param ms how long it was waited for
   */
  constructor(ms: number) {
    super(
      `Cannot go on with the stream: no token came within ${ms} ms of the one before it, raise ` +
        "tokenTimeoutMs or use a smaller model",
      "token_timeout",
      500,
      { hints: ["Raise tokenTimeoutMs."] },
    );
  }
}

type Step = IteratorResult<StreamEvent, void>;
/** Nothing came before the time was up. */
const LATE = Symbol("late");

/** Reads events one by one, with the limits of a config. */
class Responses {
  readonly #events: AsyncGenerator<StreamEvent, void, undefined>;
  readonly #config: StreamingConfig;
  #wanted: Promise<Step> | undefined;
  #hasToken = false;
  #isOver = false;

  constructor(events: AsyncGenerator<StreamEvent, void, undefined>, config: StreamingConfig) {
    this.#events = events;
    this.#config = config;
  }

  /** The next token event, undefined at the end, LATE after `ms` without; 0 is without limit. */
  async #token(ms: number): Promise<StreamEvent | undefined | typeof LATE> {
    for (;;) {
      this.#wanted ??= this.#events.next();
      const step = ms === 0 ? await this.#wanted : await within(this.#wanted, ms);
      if (step === undefined) return LATE;
      this.#wanted = undefined;
      if (step.done === true) {
        this.#isOver = true;
        return undefined;
      }
      const event = step.value;
      if (event.type === "error") {
        throw new SluiceError(event.message, event.code, 500, { hints: event.hints });
      }
      if (event.type === "token") return event;
    }
  }

  /** The next group; undefined at the end. */
  async next(): Promise<StreamResponse | undefined> {
    const { bufferSize, flushIntervalMs, tokenTimeoutMs } = this.#config;
    const group: StreamResponse = { text: "", tokenIds: [] };
    let due = 0;
    for (let n = 0; n < bufferSize; n++) {
      // The first token may wait in the queue and for its prompt as long as it has to.
      const waitMs = this.#hasToken ? tokenTimeoutMs : 0;
      const leftMs = due - performance.now();
      if (n > 0 && leftMs <= 0) break;
      const event = await this.#token(n > 0 ? Math.min(waitMs || Infinity, leftMs) : waitMs);
      if (event === LATE && n > 0) break;
      if (event === LATE) throw new TokenTimeoutError(tokenTimeoutMs);
      if (event === undefined) return n > 0 ? group : undefined;
      if (event.type !== "token") continue;
      this.#hasToken = true;
      if (n === 0) due = performance.now() + flushIntervalMs;
      group.text += event.text;
      group.tokenIds.push(...event.ids);
    }
    return group;
  }

  /** Lets the events go; where nothing may cancel them, they run to their end unread. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    if (this.#config.cancellable) {
      // A wait that goes on would hold up return().
      void this.#wanted?.catch(() => undefined);
      await this.#events.return();
    } else void this.#drain();
  }

  async #drain(): Promise<void> {
    while ((await this.#events.next()).done !== true);
  }
}

/**
 * Events as responses: `bufferSize` tokens together, or those of `flushIntervalMs`.
 *
 * @throws TokenTimeoutError where `tokenTimeoutMs` pass between two tokens
 * @throws SluiceError what an error event says
 */
export async function* streamResponses(
  events: AsyncGenerator<StreamEvent, void, undefined>,
  config: StreamingConfig,
): AsyncGenerator<StreamResponse, void, undefined> {
  const responses = new Responses(events, config);
  try {
    for (let next = await responses.next(); next !== undefined; next = await responses.next()) {
      yield next;
    }
  } finally {
    await responses.end();
  }
}

/**
 * The texts of an answer as they come, and the whole of it as the return value.
 *
 * @throws SluiceError what an error event says
 */
export async function* streamAndCollect(
  events: AsyncIterable<StreamEvent>,
): AsyncGenerator<string, string, undefined> {
  let whole = "";
  for await (const event of events) {
    if (event.type === "error") {
      throw new SluiceError(event.message, event.code, 500, { hints: event.hints });
    }
    if (event.type !== "token" || event.text === "") continue;
    whole += event.text;
    yield event.text;
  }
  return whole;
}
