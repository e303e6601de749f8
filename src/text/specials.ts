/**
 * Specials: the tokens that are found in text as a whole, before the rest is cut into words.
 *
 * Control tokens among them are only looked for where the caller trusts the text.
 *
 * @module
 */
import { tokenKind, type Vocab } from "./vocab.ts";

/** One token with its text. */
export interface SpecialToken {
  readonly id: number;
  readonly text: string;
  /** It steers the model: it is taken from templates only, never from a user's text. */
  readonly control: boolean;
  /** White space behind it is dropped. */
  readonly stripRight: boolean;
}

/** The special tokens of one model. */
export class Specials {
  /** Longest text first: the order in which they are looked for. */
  readonly tokens: readonly SpecialToken[];

  /** @param modelName `general.name`: what the file does not say of its tokens hangs on it */
  constructor(vocab: Vocab, modelName: string) {
    const stripsRight = /phi-?3/i.test(modelName);
    const notStripped = ["<unk>", "<s>", "<|endoftext|>"];
    const { kinds, texts } = vocab;
    const found: SpecialToken[] = [];
    for (let id = 0; id < vocab.n_vocab; id++) {
      const control = vocab.isControl(id);
      if (!control && kinds[id] !== tokenKind.userDefined) continue;
      const text = texts.at(id);
      if (text === "") continue;
      found.push({ id, text, control, stripRight: stripsRight && !notStripped.includes(text) });
    }
    const bytes = (token: SpecialToken): number => texts.end(token.id) - texts.start(token.id);
    this.tokens = found.sort((a, b) => bytes(b) - bytes(a) || a.id - b.id);
  }

  /**
   * Cuts text into special tokens and what lies between them.
   *
   * @param parseControl whether control tokens are looked for as well
   */
  split(text: string, parseControl: boolean): (string | SpecialToken)[] {
    let parts: (string | SpecialToken)[] = text === "" ? [] : [text];
    for (const token of this.tokens) {
      if ((token.control && !parseControl) || !text.includes(token.text)) continue;
      parts = parts.flatMap((part) => typeof part === "string" ? splitAt(part, token) : part);
    }
    return parts;
  }
}

function splitAt(text: string, token: SpecialToken): (string | SpecialToken)[] {
  const parts: (string | SpecialToken)[] = [];
  text.split(token.text).forEach((part, i) => {
    if (i > 0) parts.push(token);
    if (part !== "") parts.push(part);
  });
  return parts;
}
