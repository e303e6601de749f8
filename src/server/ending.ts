/**
 * Ending: what an adapter hears of the end of a body that is made while it is read.
 *
 * Such a body may be silent for long, so a server must not take its client for dead; and when it
 * has ended, or nobody reads it, the server must do so again.
 *
 * @module
 */

/** Who wants to know that a body ends. */
export interface Ending {
  /**
   * Told once, just before a body ends by itself; `isStalled` where its reader was put out because
   * it does not read, so that the end will not reach it either. Default nobody.
   */
  onEnd?: (isStalled: boolean) => void;
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
