/**
 * Detokenizer: token ids -> text, token by token, in whole code points.
 *
 * Bytes that may still become a code point wait for the next token; bytes that cannot become
 * U+FFFD, where and as often as a TextDecoder over all of them would put it.
 *
 * @module
 */
import type { Tokenizer } from "./tokenizer.ts";

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** By tokenizer: the texts of tokens that are whole code points, for most come again and again. */
const texts = new WeakMap<object, Map<number, string>>();

/** Turns the tokens of one answer into text. */
export class Detokenizer {
  readonly #tokenizer: Pick<Tokenizer, "bytes" | "spacePrefix">;
  readonly #texts: Map<number, string>;
  #held: Uint8Array = new Uint8Array();
  #dropSpace: boolean;

  /**
   * @param options `first`: the ids begin a text of their own rather than go on after a prompt,
   *   so that the space which the vocabulary puts before a text is dropped; default false
   */
  constructor(
    tokenizer: Pick<Tokenizer, "bytes" | "spacePrefix">,
    options: { first?: boolean } = {},
  ) {
    this.#tokenizer = tokenizer;
    this.#texts = texts.get(tokenizer) ?? new Map();
    texts.set(tokenizer, this.#texts);
    this.#dropSpace = (options.first ?? false) && tokenizer.spacePrefix;
  }

  /** Whether bytes wait for the next token. */
  get pending(): boolean {
    return this.#held.length > 0;
  }

  /** The text that the token completes; empty for control tokens. */
  push(id: number): string {
    if (this.pending || this.#dropSpace) return this.#complete(id);
    const known = this.#texts.get(id);
    if (known !== undefined) return known;
    const text = this.#complete(id);
    if (!this.pending) this.#texts.set(id, text);
    return text;
  }

  #complete(id: number): string {
    let bytes = this.#tokenizer.bytes(id);
    if (bytes.length === 0) return "";
    if (this.#dropSpace && bytes[0] === 0x20) bytes = bytes.subarray(1);
    this.#dropSpace = false;
    if (this.#held.length > 0) bytes = Uint8Array.of(...this.#held, ...bytes);
    const whole = bytes.length - unfinished(bytes);
    this.#held = bytes.subarray(whole);
    return utf8.decode(bytes.subarray(0, whole));
  }

  /** What is left at the end: U+FFFD when a code point was cut short, else nothing. */
  flush(): string {
    const text = utf8.decode(this.#held);
    this.#held = new Uint8Array();
    return text;
  }
}

/** How many bytes at the end begin a code point that more bytes may finish. */
function unfinished(bytes: Uint8Array): number {
  for (let length = 1; length <= Math.min(3, bytes.length); length++) {
    const lead = bytes[bytes.length - length]!;
    if ((lead & 0xc0) === 0x80) continue;
    const needed = lead < 0xc2 || lead > 0xf4 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (length >= needed) return 0;
    return length === 1 || canFollow(lead, bytes[bytes.length - length + 1]!) ? length : 0;
  }
  return 0;
}

/**
 * Whether a second byte keeps the code point from being too long, a surrogate or beyond
 * U+10FFFF.
 */
function canFollow(lead: number, second: number): boolean {
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second < 0xa0;
  if (lead === 0xf0) return second >= 0x90;
  if (lead === 0xf4) return second < 0x90;
  return true;
}
