/**
 * Turn: how much the readers that catch up may do before the event loop runs again.
 *
 * What is in a log is read in microtasks, and while those run no timer fires, no socket is seen and
 * no token of the engine comes in. So whoever has written a whole stride asks for a turn before the
 * next one; each turn is one reader's, because Bun gathers the small writes of one socket only. A
 * reader that waits for its next event never asks.
 *
 * @module
 */

/** Strides of one turn; each is some tenths of a millisecond. */
const STRIDES = 32;

/** Shares the event loop between readers. */
export class Turn {
  #owner: object | undefined;
  #left = 0;
  #next: Promise<void> | undefined;

  /** Resolves while the turn is this reader's, else in a later one, in the order of asking. */
  async take(reader: object): Promise<void> {
    while (this.#left === 0 || (this.#owner ??= reader) !== reader) {
      await (this.#next ??= this.#begin());
    }
    this.#left--;
  }

  async #begin(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.#next = undefined;
    this.#owner = undefined;
    this.#left = STRIDES;
  }
}
