/**
 * Notices that something waited for has not come for a while.
 *
 * @module
 */

/** What `Silence.wait` gives when nothing came in time. */
export const SILENCE = Symbol("silence");

/**
 * Waits with a limit. One timer serves many waits: a token does not pay for setting and clearing
 * one of its own. So it may outlast a wait by a silence, unless it is stopped.
 */
export class Silence {
  readonly #ms: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** `performance.now()` of the newest wait. */
  #since = 0;
  /** Ends the newest wait; undefined where it is over. */
  #tell: ((silence: typeof SILENCE) => void) | undefined;

  /** @param ms how long a silence is; 0 is never */
  constructor(ms: number) {
    this.#ms = ms;
  }

  /**
   * What `wanted` resolves to, or SILENCE; `wanted` must not reject and may be waited for again.
   */
  wait<T>(wanted: Promise<T>): Promise<T | typeof SILENCE> {
    if (this.#ms === 0) return wanted;
    this.#since = performance.now();
    this.#timer ??= setTimeout(this.#look, this.#ms);
    return new Promise((resolve) => {
      this.#tell = resolve;
      void wanted.then((value) => {
        this.#tell = undefined;
        resolve(value);
      });
    });
  }

  /** Clears the timer for good: every wait ends with `wanted` alone. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    if (this.#tell === undefined) return;
    const leftMs = this.#since + this.#ms - performance.now();
    if (leftMs > 0) {
      this.#timer = setTimeout(this.#look, leftMs);
      return;
    }
    this.#tell(SILENCE);
    this.#tell = undefined;
  };
}
