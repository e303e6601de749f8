/**
 * Answer: sampled ids -> token events, with whole code points only and without stop strings.
 *
 * A token whose text is not known yet (part of a code point, maybe part of a stop string) waits for
 * the next ones; then each keeps an event of its own, and the text goes to the last.
 *
 * @module
 */
import type { TokenEvent } from "../stream/event.ts";
import type { Detokenizer } from "../text/detokenizer.ts";
import type { StopMatcher } from "../text/stop.ts";

/** The text side of one generation. */
export class Answer {
  readonly #detokenizer: Detokenizer;
  readonly #stop: StopMatcher;
  readonly #startedAt: number;
  readonly #held: TokenEvent[] = [];
  #seq = 0;
  #stopped = false;

  /** @param startedAt `performance.now()` of admission */
  constructor(detokenizer: Detokenizer, stop: StopMatcher, startedAt: number) {
    this.#detokenizer = detokenizer;
    this.#stop = stop;
    this.#startedAt = startedAt;
  }

  /** A stop string was met; nothing more is wanted. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Takes a sampled id and gives the events that are ready. */
  push(id: number): TokenEvent[] {
    this.#held.push({
      type: "token",
      seq: ++this.#seq,
      ids: [id],
      text: "",
      timeMs: performance.now() - this.#startedAt,
      choice: 0,
      channel: "content",
    });
    const { text, stopped } = this.#stop.push(this.#detokenizer.push(id));
    this.#stopped = stopped;
    const settled = !this.#detokenizer.pending && !this.#stop.pending;
    return stopped || settled ? this.#release(text) : this.#releaseText(text);
  }

  /** The generation ended: gives what was held back. */
  finish(): TokenEvent[] {
    if (this.#stopped || this.#held.length === 0) return this.#release("");
    const { text, stopped } = this.#stop.push(this.#detokenizer.flush());
    this.#stopped = stopped;
    return this.#release(stopped ? text : text + this.#stop.flush());
  }

  /** Some text is certain though the newest token is not settled: the tokens before it carry it. */
  #releaseText(text: string): TokenEvent[] {
    if (text === "" || this.#held.length < 2) {
      if (text !== "") this.#held[0]!.text += text;
      return [];
    }
    const newest = this.#held.pop()!;
    const events = this.#release(text);
    this.#held.push(newest);
    return events;
  }

  #release(text: string): TokenEvent[] {
    const events = this.#held.splice(0);
    const last = events.at(-1);
    if (last) last.text += text;
    return events;
  }
}
