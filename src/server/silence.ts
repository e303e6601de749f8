/**
 * Notices that something waited for has not come for a while.
 *
 * @module
 */

/** What `Silence.wait` gives when nothing came in time. */
export const SILENCE = Symbol("silence");

/** A timer that is set only while somebody waits, so that it keeps nothing alive. */
export class Silence {
  readonly #ms: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param ms how long a silence is; 0 is never */
  constructor(ms: number) {
    this.#ms = ms;
  }

  /**
   * What `wanted` resolves to, or SILENCE; `wanted` must not reject and may be waited for again.
   */
  wait<T>(wanted: Promise<T>): Promise<T | typeof SILENCE> {
    if (this.#ms === 0) return wanted;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#ms, SILENCE);
      this.#timer = timer;
      wanted.then((value) => {
        clearTimeout(timer);
        resolve(value);
      });
    });
  }

  /** Clears the timer; the wait that it belonged to ends with `wanted` alone. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}
