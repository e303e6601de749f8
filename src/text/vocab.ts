/**
 * Vocab: the tokens of a model as its file lists them: texts, kinds, and the ids that have a
 * meaning of their own.
 *
 * Token texts stay in the file's bytes. Knows no algorithm: `bpe.ts` and `spm.ts` cut text into
 * these tokens.
 *
 * @module
 */
import { ModelError } from "../errors.ts";
import type { Metadata, StringArray } from "../gguf/metadata.ts";
import { findEndTokens } from "./end_tokens.ts";

/** Kinds of tokens, with the numbers of `tokenizer.ggml.token_type`. */
export const tokenKind = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

/** Whether tokens of the kind stand for text. */
export function hasText(kind: number | undefined): boolean {
  return kind === tokenKind.normal || kind === tokenKind.userDefined || kind === tokenKind.byte;
}

/** Whether plain text can become tokens of the kind: never control tokens, whatever it spells. */
export function isWord(kind: number): boolean {
  return kind !== tokenKind.control && kind !== tokenKind.unknown;
}

/** What a kind of tokenizer does where the file does not say. */
export interface VocabDefaults {
  readonly bos?: number;
  readonly eos?: number;
  readonly unk?: number;
  readonly addBos: boolean;
}

/** The tokens of one model. */
export class Vocab {
  readonly n_vocab: number;
  readonly texts: StringArray;
  /** Values of `tokenKind`, by id; 0 where the file has another number. */
  readonly kinds: Uint8Array;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly unk: number | undefined;
  /** Whether a prompt begins with `bos`. */
  readonly addBos: boolean;
  /** Whether a raw prompt ends with `eos`. */
  readonly addEos: boolean;
  /** Ids that end an answer. */
  readonly endIds: ReadonlySet<number>;

  /** @throws {GgufError | ModelError} when a key is missing or of another type or length */
  constructor(metadata: Metadata, defaults: VocabDefaults) {
    this.texts = metadata.strings("tokenizer.ggml.tokens");
    this.n_vocab = this.texts.length;
    this.kinds = readKinds(metadata, this.n_vocab);
    // Files say "none" with an id that no token has.
    const idOf = (name: string, fallback?: number): number | undefined =>
      [metadata.u32(`tokenizer.ggml.${name}_token_id`, 2 ** 32 - 1), fallback ?? 2 ** 32 - 1]
        .find((id) => id < this.n_vocab);
    this.bos = idOf("bos", defaults.bos);
    this.eos = idOf("eos", defaults.eos);
    this.unk = idOf("unknown", defaults.unk);
    this.endIds = findEndTokens(
      this.texts,
      (name) => idOf(name, name === "eos" ? defaults.eos : undefined),
    );
    const { bos, eos } = this;
    const wants = (key: string, byDefault: boolean): boolean =>
      metadata.bool(`tokenizer.ggml.${key}`, byDefault);
    this.addBos = wants("add_bos_token", defaults.addBos) && bos !== undefined;
    this.addEos = wants("add_eos_token", false) && eos !== undefined;
  }

  /** Whether the token steers the model rather than stands for text. */
  isControl(id: number): boolean {
    const kind = this.kinds[id];
    return kind === tokenKind.control || kind === tokenKind.unknown || this.endIds.has(id);
  }
}

function readKinds(metadata: Metadata, n_vocab: number): Uint8Array {
  const key = "tokenizer.ggml.token_type";
  if (!metadata.has(key)) return new Uint8Array(n_vocab).fill(tokenKind.normal);
  const kinds = metadata.i32s(key);
  if (kinds.length >= n_vocab) {
    return Uint8Array.from(kinds.subarray(0, n_vocab), (kind) => kind > 0 && kind < 7 ? kind : 0);
  }
  throw new ModelError(
    `Cannot load the tokenizer: key "${key}" has ${kinds.length} elements, expected ${n_vocab}, one for each token`,
  );
}
