/**
 * Admission: which requests an engine takes when there are more than it can run.
 *
 * A burst may wait: its requests follow one another and the queue is empty again. More than the
 * queue holds is no burst but too much, and then a queue helps nobody: it would stay full, and
 * everybody would wait for as long as it takes to work through it. So from the first refusal on
 * nobody waits any more, until there was nobody to refuse for a while; who is taken in meanwhile
 * runs at once.
 *
 * @module
 */

/** How long nobody must have been refused before requests may wait again, in milliseconds. */
const CALM_MS = 5000;

/** Knows no clock and no queue: both are told. */
export class Admission {
  readonly #slots: number;
  readonly #queueMax: number;
  readonly #calmMs: number;
  #refusedAt = -Infinity;

  /**
   * @param slots requests that run at once
   * @param queueMax requests that may wait beside them
   * @param calmMs how long nobody must have been refused before they may wait again
   */
  constructor(slots: number, queueMax: number, calmMs: number = CALM_MS) {
    this.#slots = slots;
    this.#queueMax = queueMax;
    this.#calmMs = calmMs;
  }

  /** Requests that may run or wait at a time, in milliseconds of any clock. */
  most(nowMs: number): number {
    const isCalm = nowMs - this.#refusedAt >= this.#calmMs;
    return isCalm ? this.#slots + this.#queueMax : this.#slots;
  }

  /** Whether one more is taken while so many run or wait. */
  takes(active: number, nowMs: number): boolean {
    if (active < this.most(nowMs)) return true;
    this.#refusedAt = nowMs;
    return false;
  }
}
