/**
 * StopMatcher: finds the first of several stop strings in a text that comes in pieces.
 *
 * Text is let go as soon as no stop string can begin in it. Knows text only, no tokens.
 *
 * @module
 */

/** Looks for stop strings in one answer. */
export class StopMatcher {
  readonly #stops: readonly string[];
  readonly #longest: number;
  #held = "";
  #stopped = false;

  /** @param stops empty strings are left out */
  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== "");
    this.#longest = Math.max(0, ...this.#stops.map((stop) => stop.length));
  }

  /** Whether text is held back because a stop string may begin in it. */
  get pending(): boolean {
    return this.#held !== "";
  }

  /**
   * Takes a piece and gives the text that is certain to stand before any stop string.
   *
   * Of several stop strings the one that ends first counts, so that nothing waits for a longer
   * one; it does not matter how the text is cut into pieces. After a stop all text is dropped.
   */
  push(piece: string): { text: string; stopped: boolean } {
    if (this.#stops.length === 0) return { text: piece, stopped: false };
    if (this.#stopped) return { text: "", stopped: true };
    const text = this.#held + piece;
    const at = this.#find(text);
    if (at !== undefined) {
      this.#stopped = true;
      this.#held = "";
      return { text: text.slice(0, at), stopped: true };
    }
    const certain = text.length - this.#begun(text);
    this.#held = text.slice(certain);
    return { text: text.slice(0, certain), stopped: false };
  }

  /** What was held back, when no more text comes. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }

  /** Where the stop string begins that ends first. */
  #find(text: string): number | undefined {
    let begin: number | undefined;
    let end = Infinity;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      if (at < 0 || at + stop.length > end) continue;
      begin = at + stop.length < end ? at : Math.min(at, begin!);
      end = at + stop.length;
    }
    return begin;
  }

  /** Length of the longest end of the text that begins a stop string. */
  #begun(text: string): number {
    for (let at = Math.max(0, text.length - this.#longest + 1); at < text.length; at++) {
      const end = text.slice(at);
      if (this.#stops.some((stop) => stop.startsWith(end))) return end.length;
    }
    return 0;
  }
}
