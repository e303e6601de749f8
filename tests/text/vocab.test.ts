import { describe, expect, it } from "bun:test";
import { GgufError, ModelError } from "../../src/errors.ts";
import { Metadata } from "../../src/gguf/metadata.ts";
import { findEndTokens } from "../../src/text/end_tokens.ts";
import { Vocab } from "../../src/text/vocab.ts";
import { metadataOf, type TestVocab } from "./vocabs.ts";

const tokens = ["a", "b", "c", "d"];
const vocab = (test: Omit<TestVocab, "tokens">, bos = 1): Vocab =>
  new Vocab(metadataOf({ tokens, ...test }), { bos, eos: 2, addBos: true });

describe("Vocab", () => {
  it("takes ids and wishes from the file", () => {
    const ids = { bos_token_id: 3, eos_token_id: 0, unknown_token_id: 2 };
    const flags = { add_bos_token: false, add_eos_token: true };
    expect(vocab({ ids, flags })).toMatchObject({
      n_vocab: 4,
      bos: 3,
      eos: 0,
      unk: 2,
      addBos: false,
      addEos: true,
    });
  });

  it("falls back to what the kind of tokenizer does", () => {
    expect(vocab({})).toMatchObject({
      bos: 1,
      eos: 2,
      unk: undefined,
      addBos: true,
      addEos: false,
    });
  });

  it("takes an id that no token has for none", () => {
    expect(vocab({ ids: { bos_token_id: 4_294_967_295 } }).bos).toBe(1);
    const none = vocab({ ids: { bos_token_id: 4 } }, 99);
    expect([none.bos, none.addBos]).toEqual([undefined, false]);
  });

  it("tells control tokens", () => {
    const kinds = vocab({ types: [1, 2, 3, 4] });
    expect([0, 1, 2, 3].map((id) => kinds.isControl(id))).toEqual([false, true, true, false]);
    expect(vocab({ ids: { eos_token_id: 0 } }).isControl(0)).toBe(true);
  });

  it("takes all tokens for normal where the file has no kinds", () => {
    expect([...vocab({}).kinds]).toEqual([1, 1, 1, 1]);
  });

  it("takes kinds that it does not know for none", () => {
    expect([...vocab({ types: [0, 7, -1, 259] }).kinds]).toEqual([0, 0, 0, 0]);
  });

  it("refuses kinds for a part of the tokens", () => {
    expect(() => vocab({ types: [1, 1] })).toThrow(ModelError);
    expect(() => vocab({ types: [1, 1] })).toThrow("has 2 elements, expected 4");
  });

  it("refuses a file without tokens", () => {
    const empty = new Metadata("x.gguf", new Uint8Array(), new Map());
    expect(() => new Vocab(empty, { addBos: false })).toThrow(GgufError);
  });
});

describe("findEndTokens()", () => {
  const ends = (texts: readonly string[], ids: Record<string, number> = {}): number[] =>
    [...findEndTokens(
      metadataOf({ tokens: texts }).strings("tokenizer.ggml.tokens"),
      (name) => ids[name],
    )]
      .sort((a, b) => a - b);

  it("takes the ids that the file names", () => {
    expect(ends(["a", "b", "c", "d"], { eos: 3, eot: 1, fim_pad: 0 })).toEqual([0, 1, 3]);
  });

  it("takes tokens by their texts", () => {
    expect(ends(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "</s>", "<|IM_END|>"])).toEqual([
      0,
      2,
      3,
    ]);
  });

  it("takes the token of a repository name, past which no answer goes", () => {
    expect(ends(["<reponame>", "x", "<|file_sep|>"])).toEqual([0, 2]);
    expect(ends(["<reponame>", "x"], { fim_rep: 1 })).toEqual([1]);
  });

  it("leaves out the end of a part where there is an end of the whole", () => {
    expect(ends(["<|end|>"])).toEqual([0]);
    expect(ends(["<|end|>", "<|return|>", "<|call|>"])).toEqual([1, 2]);
    expect(ends(["</s>", "<|tool_response>"])).toEqual([1]);
  });
});
