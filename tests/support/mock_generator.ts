/**
 * A Generator without a model: it plays a script, keeps the contract, and counts what happens to
 * it.
 *
 * @module
 */
import type { GenerateRequest, Generator, ModelInfo } from "../../src/engine/generator.ts";
import type { Steering } from "../../src/engine/steering.ts";
import type {
  CompleteEvent,
  FinishReason,
  StartEvent,
  StreamEvent,
  TokenEvent,
  UsageEvent,
} from "../../src/stream/event.ts";

/** One step of a script: an event, something to wait for, or an error to throw. */
export type Step = StreamEvent | Promise<unknown> | Error;

/** What a mock does for a request. A generator function may be endless. */
export type Script = (request: GenerateRequest) => Iterable<Step>;

export const MODEL: ModelInfo = { id: "mock", created: 1_700_000_000, n_ctx: 2048, n_vocab: 512 };

const PROMPT_TOKENS = 5;

/** The start event. */
export const START: StartEvent = { type: "start", replay: null, promptTokens: PROMPT_TOKENS };

/** One token: 10 ms after the one before it, with an id that tells its place. */
export function token(text: string, seq: number, more: Partial<TokenEvent> = {}): TokenEvent {
  return {
    type: "token",
    seq,
    ids: [100 + seq],
    text,
    timeMs: seq * 10,
    choice: 0,
    channel: "content",
    ...more,
  };
}

/** The usage event of `n` tokens. */
export function usage(n: number): UsageEvent {
  return { type: "usage", promptTokens: PROMPT_TOKENS, completionTokens: n, cachedTokens: 3 };
}

/** The end after `n` tokens. */
export function complete(n: number, finishReason: FinishReason = "eos"): CompleteEvent {
  const stats = {
    promptTokens: PROMPT_TOKENS,
    generatedTokens: n,
    queueMs: 1,
    prefillMs: 9,
    decodeMs: n * 10,
    totalMs: n * 10 + 10,
  };
  return { type: "complete", finishReason, stats };
}

/** A whole stream that says `texts`. */
export function saying(...texts: string[]): Script {
  const tokens = texts.map((text, i) => token(text, i + 1));
  return () => [START, ...tokens, usage(texts.length), complete(texts.length)];
}

/** Tokens without end; `pause` is waited for before each. */
export function endless(pause: () => Promise<unknown> = () => Promise.resolve()): Script {
  return function* () {
    yield START;
    for (let seq = 1;; seq++) {
      yield pause();
      yield token(` t${seq}`, seq);
    }
  };
}

function isSaid(step: Step, { resume }: GenerateRequest): boolean {
  return resume !== undefined && "type" in step && step.type === "token" && step.seq <= resume.seq;
}

/** Plays a script. */
export class MockGenerator implements Generator {
  readonly model = MODEL;
  /** Every request that came, in order. */
  readonly requests: GenerateRequest[] = [];
  /** How the newest of them is changed. */
  steering: Steering | undefined;
  /** Generations between their first step and their `finally`. */
  active = 0;
  /** Generations whose `finally` ran. */
  finished = 0;
  /** Generations that saw their signal aborted. */
  aborted = 0;
  /** Events given out. */
  events = 0;
  /** What it does from the next request on. */
  script: Script;
  #waiting: { condition: () => boolean; resolve: () => void }[] = [];

  constructor(script: Script = saying("Hello", " world")) {
    this.script = script;
  }

  async *generate(
    request: GenerateRequest,
    signal?: AbortSignal,
    steering?: Steering,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    this.requests.push(request);
    this.steering = steering;
    this.active++;
    this.#check();
    const isAborted = new Promise<void>((resolve) => {
      signal?.addEventListener("abort", () => {
        this.aborted++;
        resolve();
      }, { once: true });
    });
    let seq = 0;
    try {
      for (const step of this.script(request)) {
        // What another process gave out already is not said again.
        if (isSaid(step, request)) continue;
        if (step instanceof Promise) await Promise.race([step, isAborted]);
        else if (step instanceof Error) throw step;
        else {
          if (step.type === "token") seq = step.seq;
          yield this.#count(step);
        }
        if (signal?.aborted) {
          yield this.#count(complete(seq, "cancelled"));
          return;
        }
      }
    } finally {
      this.active--;
      this.finished++;
      this.#check();
    }
  }

  /**
   * Resolves when the condition holds; looked at whenever a generation begins, gives out an event
   * or ends.
   */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ condition, resolve });
      this.#check();
    });
  }

  #count<T>(event: T): T {
    this.events++;
    this.#check();
    return event;
  }

  #check(): void {
    this.#waiting = this.#waiting.filter(({ condition, resolve }) => {
      if (!condition()) return true;
      resolve();
      return false;
    });
  }
}
