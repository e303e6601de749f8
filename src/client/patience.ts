/**
 * Patience: how long to wait before the next attempt, and when to give up.
 *
 * @module
 */
import { StreamError, type StreamErrorCode } from "./stream_error.ts";

/** How patient a client is. */
export interface PatienceOptions {
  /** Attempts without progress after the first one. */
  readonly retries: number;
  /** Milliseconds without progress. */
  readonly timeoutMs: number;
  /** Milliseconds before the second attempt, until the server says another number. */
  readonly retryMs: number;
}

/** Why an attempt came to nothing, and what the server said about the next one. */
export interface Setback {
  readonly cause: unknown;
  /** What to say where it is the last. Default `disconnected`. */
  readonly code?: StreamErrorCode;
  /** Milliseconds that the server asks for. */
  readonly afterMs?: number;
}

/** Pauses grow up to this, unless the server asks for more. */
const PAUSE_MS_MAX = 5000;
/** A timer that is set to more fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Resolves after a time, or rejects with the signal's reason. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Counts the setbacks since the last progress; see the module. */
export class Patience {
  /** Milliseconds before the second attempt; the server's `retry` sets it. */
  retryMs: number;
  readonly timeoutMs: number;
  readonly #retries: number;
  #setbacks = 0;
  /** Time of the first setback. A reader that pauses is no setback. */
  #since = 0;

  constructor({ retries, timeoutMs, retryMs }: PatienceOptions) {
    this.#retries = retries;
    this.timeoutMs = Math.min(timeoutMs, TIMER_MS_MAX);
    this.retryMs = retryMs;
  }

  /** Something arrived that had not arrived before. */
  progress(): void {
    this.#setbacks = 0;
  }

  /**
   * Waits until the next attempt makes sense.
   *
   * @throws StreamError when there have been too many, or it would be too late
   */
  async pause(
    { cause, code = "disconnected", afterMs = 0 }: Setback,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    const now = performance.now();
    if (this.#setbacks === 0) this.#since = now;
    const ms = Math.max(afterMs, this.#pauseMs());
    this.#setbacks++;
    const isLate = now + ms - this.#since > this.timeoutMs;
    if (!isLate && this.#setbacks <= this.#retries) return await sleep(ms, signal);
    const limit = isLate ? `${this.timeoutMs} ms` : `${this.#retries} retries`;
    const what = code === "overloaded" ? "the server is busy" : "the server cannot be reached";
    throw new StreamError(
      `Cannot read the stream: ${what}, expected it to answer within ${limit}, try again later`,
      code,
      { cause, status: code === "overloaded" ? 429 : 503, hints: ["Try again later."] },
    );
  }

  /** Between half and all of a time that doubles: clients that were cut together come apart. */
  #pauseMs(): number {
    const grown = Math.min(PAUSE_MS_MAX, Math.max(1, this.retryMs) * 2 ** this.#setbacks);
    return Math.max(this.retryMs, grown) * (1 - Math.random() / 2);
  }
}
