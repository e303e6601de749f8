/**
 * Tokenizer: text to token ids and back, by what the model's file says of its vocabulary.
 *
 * Text of a user never becomes a control token: those come from segments that a template marked,
 * or on request.
 *
 * @module
 */
import { ModelError } from "../errors.ts";
import type { Metadata } from "../gguf/metadata.ts";
import { Bpe } from "./bpe.ts";
import { preTokenizer } from "./pretokenizers.ts";
import type { Scheme } from "./scheme.ts";
import { Specials, type SpecialToken } from "./specials.ts";
import { Spm } from "./spm.ts";
import { hasText, Vocab } from "./vocab.ts";

/** A part of a prompt. */
export interface Segment {
  readonly text: string;
  /** Whether the text is the name of one control token rather than text. */
  readonly special: boolean;
}

/** How text is encoded. */
export interface EncodeOptions {
  /** Adds the BOS and EOS tokens where the model wants them. Default false. */
  addSpecial?: boolean;
  /** Takes control tokens that the text spells; only for text that is trusted. Default false. */
  parseSpecial?: boolean;
}

/** Turns text into token ids and back. */
export interface Tokenizer {
  readonly n_vocab: number;
  /** First token of a prompt; undefined when the model has none. */
  readonly bos: number | undefined;
  /** Last token of an answer; undefined when the model has none. */
  readonly eos: number | undefined;
  /** Every id that ends an answer, `eos` among them. */
  readonly endIds: ReadonlySet<number>;
  /** Texts of the control tokens. */
  readonly controlTexts: readonly string[];
  /** Text of `bos`, empty when there is none. */
  readonly bosText: string;
  /** Text of `eos`, empty when there is none. */
  readonly eosText: string;
  /** Whether a text's first token begins with a space that the text does not have. */
  readonly spacePrefix: boolean;
  /** The ids of a text. Halves of surrogate pairs count as U+FFFD. */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * The ids of a rendered chat; begins with BOS where the model wants it and the template did
   * not write it.
   */
  encodeSegments(segments: readonly Segment[]): number[];
  /**
   * What a token adds to the text: maybe part of a code point, nothing for control tokens and
   * unknown ids.
   */
  bytes(id: number): Uint8Array;
  /** Whether the token steers the model rather than stands for text. */
  isControl(id: number): boolean;
}

/**
 * The tokenizer that a file describes.
 *
 * @throws {GgufError | ModelError} when a key is missing or wrong, or the kind is not known
 */
export function createTokenizer(metadata: Metadata): Tokenizer {
  const model = metadata.str("tokenizer.ggml.model");
  const create = Object.hasOwn(creators, model) ? creators[model] : undefined;
  if (create) return create(metadata);
  const known = Object.keys(creators).join(", ");
  throw new ModelError(
    `Cannot load the tokenizer: its model is "${model}", expected one of ${known}`,
  );
}

const creators: Readonly<Record<string, (metadata: Metadata) => Tokenizer>> = {
  gpt2(metadata) {
    const pre = preTokenizer(metadata.str("tokenizer.ggml.pre", "default"));
    const ends = pre.noBos ? { eos: 11 } : { bos: 11, eos: 11 };
    const vocab = new Vocab(metadata, { ...ends, addBos: pre.addBos });
    const spacePrefix = metadata.bool("tokenizer.ggml.add_space_prefix", false);
    const merges = metadata.strings("tokenizer.ggml.merges");
    return new VocabTokenizer(vocab, new Bpe(vocab, merges, pre, spacePrefix), metadata);
  },
  llama(metadata) {
    const vocab = new Vocab(metadata, { bos: 1, eos: 2, unk: 0, addBos: true });
    return new VocabTokenizer(vocab, new Spm(vocab, metadata), metadata);
  },
};

/** A vocabulary with the scheme that it is made for. */
class VocabTokenizer implements Tokenizer {
  readonly n_vocab: number;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly endIds: ReadonlySet<number>;
  readonly controlTexts: readonly string[];
  readonly bosText: string;
  readonly eosText: string;
  readonly spacePrefix: boolean;
  readonly #vocab: Vocab;
  readonly #scheme: Scheme;
  readonly #specials: Specials;

  constructor(vocab: Vocab, scheme: Scheme, metadata: Metadata) {
    this.n_vocab = vocab.n_vocab;
    this.bos = vocab.bos;
    this.eos = vocab.eos;
    this.endIds = vocab.endIds;
    this.spacePrefix = scheme.spacePrefix;
    this.#vocab = vocab;
    this.#scheme = scheme;
    this.#specials = new Specials(vocab, metadata.str("general.name", ""));
    const { bos, eos, texts } = vocab;
    this.bosText = bos === undefined ? "" : texts.at(bos);
    this.eosText = eos === undefined ? "" : texts.at(eos);
    this.controlTexts = this.#specials.tokens.filter((token) => token.control)
      .map((token) => token.text);
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    const { addSpecial = false, parseSpecial = false } = options;
    const { bos, eos, addBos, addEos } = this.#vocab;
    const ids = addSpecial && addBos ? [bos!] : [];
    this.#encodeParts(this.#specials.split(text, parseSpecial), ids);
    if (addSpecial && addEos) ids.push(eos!);
    return ids;
  }

  encodeSegments(segments: readonly Segment[]): number[] {
    const parts = segments.flatMap(({ text, special }) => this.#specials.split(text, special));
    const { bos, addBos } = this.#vocab;
    const [first] = parts;
    const hasBos = typeof first === "object" && first.id === bos;
    const ids = addBos && !hasBos ? [bos!] : [];
    this.#encodeParts(parts, ids);
    return ids;
  }

  bytes(id: number): Uint8Array {
    const isText = hasText(this.#vocab.kinds[id]) && !this.isControl(id);
    return isText ? this.#scheme.bytes(id) : new Uint8Array();
  }

  isControl(id: number): boolean {
    return this.#vocab.isControl(id);
  }

  #encodeParts(parts: readonly (string | SpecialToken)[], ids: number[]): void {
    let before: SpecialToken | undefined;
    let first = true;
    for (const part of parts) {
      if (typeof part === "object") {
        ids.push(part.id);
        before = part;
      } else {
        const text = before?.stripRight ? part.replace(/^[ \t-\r]+/, "") : part;
        if (text === "") continue;
        this.#scheme.encode(text, ids, first || before !== undefined);
        before = undefined;
      }
      first = false;
    }
  }
}
