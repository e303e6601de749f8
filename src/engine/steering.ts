/**
 * Steering: changes to a generation that runs, from whoever started it.
 *
 * @module
 */
import type { SamplingOptions } from "./generator.ts";

/** What may change while a generation runs; what is absent stays. */
export interface Change {
  /** Most tokens in all, those counted that are sampled already. */
  maxTokens?: number;
  /** How the next tokens are drawn; the seed stays. */
  sampling?: Omit<SamplingOptions, "seed">;
}

/** Carries changes to one generation. */
export class Steering {
  #take: ((change: Change) => void) | undefined;

  /** Takes every change from now on; the generator calls it. */
  listen(take: (change: Change) => void): void {
    this.#take = take;
  }

  /**
   * Gives a change on; tokens that are sampled already keep. False where nobody takes changes.
   *
   * @throws RequestError where a value is not acceptable
   */
  change(change: Change): boolean {
    this.#take?.(change);
    return this.#take !== undefined;
  }
}
