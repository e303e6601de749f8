/**
 * SentencePiece BPE, as Llama 2 uses it: characters are merged by the score of the token that
 * they give.
 *
 * Spaces are written as U+2581 in the file; what no token covers is spelled byte by byte.
 *
 * @module
 */
import type { Metadata } from "../gguf/metadata.ts";
import { ModelError } from "../errors.ts";
import { ByteMap } from "./byte_map.ts";
import { MergeList, type Pairing } from "./merge.ts";
import type { Scheme } from "./scheme.ts";
import { isWord, tokenKind, type Vocab } from "./vocab.ts";

const utf8 = new TextEncoder();
const SPACE = "\u2581";

/** SentencePiece BPE over one vocabulary. */
export class Spm implements Scheme, Pairing {
  readonly spacePrefix: boolean;
  readonly #vocab: Vocab;
  readonly #scores: Float32Array;
  readonly #list = new MergeList();
  #tables: Tables | undefined;
  #text: Uint8Array = new Uint8Array();
  /** First byte of each symbol, and behind its last. */
  #starts = new Int32Array();
  #ends = new Int32Array();
  /** Token of each symbol, and of each with its neighbour; -1 for none. */
  #ids = new Int32Array();
  #pairIds = new Int32Array();

  /** @throws {GgufError | ModelError} when there is not a score for each token */
  constructor(vocab: Vocab, metadata: Metadata) {
    this.#vocab = vocab;
    this.spacePrefix = metadata.bool("tokenizer.ggml.add_space_prefix", true);
    const key = "tokenizer.ggml.scores";
    this.#scores = metadata.has(key) ? metadata.f32s(key) : new Float32Array(vocab.n_vocab);
    if (this.#scores.length < vocab.n_vocab) {
      throw new ModelError(
        `Cannot load the tokenizer: key "${key}" has ${this.#scores.length} elements, expected ${vocab.n_vocab}, one for each token`,
      );
    }
  }

  encode(text: string, out: number[], first: boolean): void {
    const tables = this.#tables ??= buildTables(this.#vocab, this.#scores);
    const prefixed = this.spacePrefix && first ? ` ${text}` : text;
    this.#text = utf8.encode(prefixed.replaceAll(" ", SPACE));
    const count = this.#cut(tables);
    if (count === 0) return;
    this.#list.merge(count, this);
    for (let i = 0; i >= 0; i = this.#list.next(i)) {
      if (this.#ids[i]! >= 0) out.push(this.#ids[i]!);
      else this.#spell(this.#starts[i]!, this.#ends[i]!, tables, out);
    }
  }

  bytes(id: number): Uint8Array {
    const { texts, kinds } = this.#vocab;
    const text = texts.at(id);
    if (kinds[id] === tokenKind.userDefined) return utf8.encode(text);
    const byte = kinds[id] === tokenKind.byte ? /^<0x([0-9a-f]{2})>$/i.exec(text) : null;
    return byte ? Uint8Array.of(parseInt(byte[1]!, 16)) : utf8.encode(text.replaceAll(SPACE, " "));
  }

  rank(left: number, right: number): number {
    const { words, ranks, bytesMax } = this.#tables!;
    const start = this.#starts[left]!;
    const end = this.#ends[right]!;
    const id = end - start > bytesMax ? -1 : words.get(this.#text, start, end);
    this.#pairIds[left] = id;
    return id < 0 ? -1 : ranks[id]!;
  }

  join(left: number, right: number): void {
    this.#ends[left] = this.#ends[right]!;
    this.#ids[left] = this.#pairIds[left]!;
  }

  /** Makes a symbol of each character and returns their number. */
  #cut({ words }: Tables): number {
    const text = this.#text;
    this.#starts = new Int32Array(text.length);
    this.#ends = new Int32Array(text.length);
    this.#ids = new Int32Array(text.length);
    this.#pairIds = new Int32Array(text.length);
    let count = 0;
    for (let start = 0; start < text.length;) {
      let end = start + 1;
      while (end < text.length && (text[end]! & 0xc0) === 0x80) end++;
      this.#starts[count] = start;
      this.#ends[count] = end;
      this.#ids[count] = words.get(text, start, end);
      count++;
      start = end;
    }
    return count;
  }

  #spell(start: number, end: number, { byteIds }: Tables, out: number[]): void {
    for (const byte of this.#text.subarray(start, end)) {
      const id = byteIds[byte]!;
      if (id >= 0) out.push(id);
      else if (this.#vocab.unk !== undefined) out.push(this.#vocab.unk);
    }
  }
}

/** What encoding looks up. */
interface Tables {
  readonly words: ByteMap;
  /** By id: 0 has the best score; equal scores have equal ranks. */
  readonly ranks: Int32Array;
  /** Token of each byte, -1 for none. */
  readonly byteIds: Int32Array;
  /** Bytes of the longest token. */
  readonly bytesMax: number;
}

function buildTables({ texts, kinds, n_vocab }: Vocab, scores: Float32Array): Tables {
  const words = new ByteMap(texts, (id) => isWord(kinds[id]!));
  const ordered = new Set(scores.subarray(0, n_vocab).toSorted().reverse());
  const rankOf = new Map([...ordered].map((score, rank) => [score, rank]));
  const ranks = Int32Array.from({ length: n_vocab }, (_, id) => rankOf.get(scores[id]!)!);
  let bytesMax = 0;
  for (let id = 0; id < n_vocab; id++) {
    bytesMax = Math.max(bytesMax, texts.end(id) - texts.start(id));
  }
  const find = (bytes: Uint8Array): number => words.get(bytes, 0, bytes.length);
  const byteIds = Int32Array.from({ length: 256 }, (_, byte) => {
    const hex = byte.toString(16).toUpperCase().padStart(2, "0");
    const id = find(utf8.encode(`<0x${hex}>`));
    return id >= 0 ? id : find(Uint8Array.of(byte));
  });
  return { words, ranks, byteIds, bytesMax };
}
