/**
 * Prompts of a given length that no cache has seen.
 *
 * @module
 */

/** Tokens of a prompt whose length is not what is measured. */
export const PROMPT_TOKENS = 16;

/** With the space before it each is one token in the vocabularies of common models. */
const WORDS = ("river stone cloud engine paper window garden silver market letter forest signal " +
  "copper harbor planet mirror water light night morning summer winter bridge castle doctor " +
  "driver farmer father flower friend ground hammer island jacket kitchen ladder machine memory " +
  "metal minute model mother mountain music number ocean office pepper picture pocket powder " +
  "rabbit record school season shadow singer soldier spring street student table teacher temple")
  .split(" ");

/** First words that number a prompt, in the base of the list's length. */
const SERIAL_WORDS = 3;

/**
 * A text of `words` words. Two with different serial numbers differ in their first four words, so
 * that a cache of prompts finds at most three of them.
 *
 * @param serial below 64 ** 3
 */
export function prompt(words: number, serial: number): string {
  let state = serial + 1;
  const chosen = Array.from({ length: words - 1 }, (_, index) => {
    if (index < SERIAL_WORDS) return Math.floor(serial / 64 ** index) % 64;
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 26;
  });
  return ["The", ...chosen.map((index) => WORDS[index])].join(" ");
}
