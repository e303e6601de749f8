/**
 * Ending: what an adapter and the server's log hear of the end of a body that is made while it is
 * read.
 *
 * Such a body may be silent for long, so a server must not take its client for dead; and when it
 * has ended, or nobody reads it, the server must do so again.
 *
 * @module
 */

/** How such a body came to its end: all of it was written, or its client has gone before. */
export type Outcome = "whole" | "cut" | "gone";

/** Who wants to know that a body ends; one for each body. */
export class Ending {
  /**
   * Told once, just before a body ends by itself; `isStalled` where its reader was put out because
   * it does not read, so that the end will not reach it either. Default nobody.
   */
  onEnd?: (isStalled: boolean) => void;
  /** Bytes that were written so far. */
  bytes = 0;
  #outcome: Outcome | undefined;
  #listener: ((outcome: Outcome) => void) | undefined;

  /** Nothing more of the body is made. What is told after that means nothing. */
  over(outcome: Outcome): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.#listener?.(outcome);
  }

  /** Tells once how the body ended, at once where it has. */
  whenOver(listener: (outcome: Outcome) => void): void {
    this.#listener = listener;
    if (this.#outcome !== undefined) listener(this.#outcome);
  }
}

const endings = new WeakMap<Response, Ending>();

/** The response, known by the ending of its body. */
export function withEnding(response: Response, ending: Ending | undefined): Response {
  if (ending !== undefined) endings.set(response, ending);
  return response;
}

/** The ending of a response whose body is made while it is read; undefined for any other. */
export function endingOf(response: Response): Ending | undefined {
  return endings.get(response);
}
