/**
 * Live: the main side of one running sequence: what arrived from the core, and who waits for it.
 *
 * @module
 */
import type { SluiceError } from "../errors.ts";
import type { SamplingOptions } from "./generator.ts";
import type { FinishReason } from "../stream/event.ts";

/** What the next wait brings. */
export type Arrival =
  | { token: number; finish: FinishReason | undefined }
  | { cancelled: true }
  | { error: SluiceError };

/** A queue with one reader; a cancellation or a failure overtakes what is queued. */
export class Live {
  readonly id: number;
  /** Cache stream that computes it, -1 while it waits. */
  stream = -1;
  /** `performance.now()` of admission and of the first prefill step. */
  readonly admittedAt: number = performance.now();
  startedAt = 0;
  /** The core has forgotten it. */
  ended = false;
  /** How its tokens are drawn. */
  sampling: SamplingOptions & { seed: number };
  readonly #tokens: { token: number; finish: FinishReason | undefined }[] = [];
  #last: Arrival | undefined;
  #wake: (() => void) | undefined;

  constructor(id: number, sampling: SamplingOptions & { seed: number } = { seed: 0 }) {
    this.id = id;
    this.sampling = sampling;
  }

  /** Takes a sampled token. */
  push(token: number, finish: FinishReason | undefined): void {
    this.#tokens.push({ token, finish });
    if (finish) this.ended = true;
    this.#wake?.();
  }

  /** Ends the wait of the reader. The first end stays. */
  end(arrival: { cancelled: true } | { error: SluiceError }): void {
    this.#last ??= arrival;
    this.#wake?.();
  }

  /** The next arrival; waits for it. */
  async next(): Promise<Arrival> {
    for (;;) {
      if (this.#last) return this.#last;
      const token = this.#tokens.shift();
      if (token) return token;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
  }
}
