/**
 * Byte-level BPE, as GPT-2 began it: text is cut into words, words into bytes, and bytes are
 * merged by rank.
 *
 * Token texts in the file spell each byte as a printable letter; nothing outside this module
 * sees that spelling.
 *
 * @module
 */
import type { StringArray } from "../gguf/metadata.ts";
import { ByteMap } from "./byte_map.ts";
import { MergeList, type Pairing } from "./merge.ts";
import { type PreTokenizer, splitWords } from "./pretokenizers.ts";
import type { Scheme } from "./scheme.ts";
import { isWord, tokenKind, type Vocab } from "./vocab.ts";

/** Most bytes of a word for which the arrays are kept for the next one. */
const KEPT = 8192;

const utf8 = new TextEncoder();
/** The letter of each byte: itself where it is printable, else the next from U+0100 up. */
const letters = spellBytes();
const letterCodes = Uint16Array.from(letters, (letter) => letter.charCodeAt(0));
const bytesOfLetters = new Map(letters.map((letter, byte) => [letter, byte]));

/** Byte-level BPE over one vocabulary. */
export class Bpe implements Scheme, Pairing {
  readonly spacePrefix: boolean;
  readonly #vocab: Vocab;
  readonly #merges: StringArray;
  readonly #pre: PreTokenizer;
  readonly #list = new MergeList();
  #tables: Tables | undefined;
  /** The bytes of a word. */
  #word = new Uint8Array(KEPT);
  /** Their letters, in UTF-8. */
  #spelled = new Uint8Array(KEPT);
  /** Where each symbol begins in `spelled`, and behind its last byte. */
  #starts = new Int32Array(KEPT);
  #ends = new Int32Array(KEPT);

  /** @param merges pairs of texts with a space between, the first is merged first */
  constructor(vocab: Vocab, merges: StringArray, pre: PreTokenizer, spacePrefix: boolean) {
    this.#vocab = vocab;
    this.#merges = merges;
    this.#pre = pre;
    this.spacePrefix = spacePrefix;
  }

  encode(text: string, out: number[]): void {
    // Built when the first text comes, so that a model loads without waiting for it.
    const tables = this.#tables ??= buildTables(this.#vocab, this.#merges);
    for (const word of splitWords(text, this.#pre.patterns)) this.#encodeWord(word, tables, out);
  }

  bytes(id: number): Uint8Array {
    const text = this.#vocab.texts.at(id);
    if (this.#vocab.kinds[id] === tokenKind.userDefined) return utf8.encode(text);
    const bytes: number[] = [];
    for (const letter of text) {
      const byte = bytesOfLetters.get(letter);
      if (byte === undefined) bytes.push(...utf8.encode(letter));
      else bytes.push(byte);
    }
    return Uint8Array.from(bytes);
  }

  rank(left: number, right: number): number {
    const middle = this.#starts[right]!;
    return this.#tables!.merges.get(this.#spelled, this.#starts[left]!, this.#ends[right]!, middle);
  }

  join(left: number, right: number): void {
    this.#ends[left] = this.#ends[right]!;
  }

  #encodeWord(word: string, { words, byteIds }: Tables, out: number[]): void {
    const count = this.#spell(word);
    if (this.#pre.wholeWords) {
      const id = words.get(this.#spelled, 0, this.#ends[count - 1]!);
      if (id >= 0) {
        out.push(id);
        return;
      }
    }
    this.#list.merge(count, this);
    for (let i = 0; i >= 0; i = this.#list.next(i)) {
      const id = words.get(this.#spelled, this.#starts[i]!, this.#ends[i]!);
      if (id >= 0) {
        out.push(id);
        continue;
      }
      // No token has this text: its bytes stand for it. Like the reference, leave out those that
      // have none.
      const next = this.#list.next(i);
      for (const byte of this.#word.subarray(i, next < 0 ? count : next)) {
        if (byteIds[byte]! >= 0) out.push(byteIds[byte]!);
      }
    }
  }

  /** Makes a symbol of each byte of the word and returns their number. */
  #spell(word: string): number {
    const bytesMax = 3 * word.length;
    if (2 * bytesMax > KEPT || this.#spelled.length > KEPT) {
      const size = Math.max(2 * bytesMax, KEPT);
      this.#word = new Uint8Array(size);
      this.#spelled = new Uint8Array(size);
      this.#starts = new Int32Array(size);
      this.#ends = new Int32Array(size);
    }
    const { written } = utf8.encodeInto(word, this.#word);
    let end = 0;
    for (let i = 0; i < written; i++) {
      this.#starts[i] = end;
      const letter = letterCodes[this.#word[i]!]!;
      if (letter < 0x80) {
        this.#spelled[end++] = letter;
      } else {
        this.#spelled[end++] = 0xc0 | (letter >> 6);
        this.#spelled[end++] = 0x80 | (letter & 0x3f);
      }
      this.#ends[i] = end;
    }
    return written;
  }
}

/** What encoding looks up. */
interface Tables {
  readonly words: ByteMap;
  /** Ranks by `left right`. */
  readonly merges: ByteMap;
  /** Token of each byte, -1 for none. */
  readonly byteIds: Int32Array;
}

function buildTables(vocab: Vocab, merges: StringArray): Tables {
  const words = new ByteMap(vocab.texts, (id) => isWord(vocab.kinds[id]!));
  const byteIds = Int32Array.from(letters, (letter) => {
    const bytes = utf8.encode(letter);
    return words.get(bytes, 0, bytes.length);
  });
  return { words, merges: new ByteMap(merges), byteIds };
}

function spellBytes(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
}
