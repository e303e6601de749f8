/**
 * Scheme: an algorithm that cuts plain text into tokens of a vocabulary and gives their bytes back.
 *
 * `bpe.ts` and `spm.ts` are the two. Special tokens are cut out before, see `specials.ts`.
 *
 * @module
 */

/** One algorithm over one vocabulary. */
export interface Scheme {
  /** Whether a space goes before text that follows nothing or a special token. */
  readonly spacePrefix: boolean;
  /**
   * Appends the ids of the text to `out`.
   *
   * @param first whether the text follows nothing or a special token
   */
  encode(text: string, out: number[], first: boolean): void;
  /** What a token that is not a control token adds to the text. */
  bytes(id: number): Uint8Array;
}
