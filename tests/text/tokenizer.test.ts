import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { GgufError, ModelError } from "../../src/errors.ts";
import { createTokenizer, type Tokenizer } from "../../src/text/tokenizer.ts";
import { bytesOf, goldenMetadata, metadataOf, type TestVocab } from "./vocabs.ts";

const create = (vocab: TestVocab): Tokenizer => createTokenizer(metadataOf(vocab));

/** The letters a to d, a user-defined token, and two control tokens at the end. */
const tokens = ["a", "b", "c", "d", "<think>", "<s>", "</s>"];
const types = [1, 1, 1, 1, 4, 3, 3];
const ids = { bos_token_id: 5, eos_token_id: 6 };
const letters: TestVocab = { tokens, types, ids, merges: [] };

describe("createTokenizer()", () => {
  it("lists the kinds that it knows when the file has another", () => {
    const metadata = metadataOf({ model: "bert", tokens });
    expect(() => createTokenizer(metadata)).toThrow(ModelError);
    expect(() => createTokenizer(metadata))
      .toThrow('Cannot load the tokenizer: its model is "bert", expected one of gpt2, llama');
    expect(() => create({ model: "toString", tokens })).toThrow(ModelError);
  });

  it("names a pre-tokenizer that it does not know", () => {
    expect(() => create({ ...letters, pre: "new" })).toThrow('its pre-tokenizer is "new"');
  });

  it("names the key that a vocabulary lacks", () => {
    expect(() => create({ model: "gpt2", tokens })).toThrow(GgufError);
    expect(() => create({ model: "gpt2", tokens })).toThrow('"tokenizer.ggml.merges" is missing');
  });

  it("knows the defaults of SentencePiece", () => {
    const tokenizer = create({
      tokens: ["<unk>", "<s>", "</s>", "\u2581", "a"],
      types: [2, 3, 3, 1, 1],
    });
    expect(tokenizer).toMatchObject({
      bos: 1,
      eos: 2,
      spacePrefix: true,
      bosText: "<s>",
      eosText: "</s>",
    });
    expect(tokenizer.encode("a", { addSpecial: true })).toEqual([1, 3, 4]);
  });

  it("knows the pre-tokenizers whose models begin with BOS, and those without one", () => {
    const eleven = [...tokens, ..."efghi"];
    expect(
      create({ tokens: eleven, merges: [], pre: "llama-bpe" }).encode("a", { addSpecial: true }),
    )
      .toEqual([11, 0]);
    expect(create({ tokens: eleven, merges: [], pre: "glm4" }).bos).toBe(undefined);
  });
});

describe("Tokenizer", () => {
  it("adds BOS and EOS where the file says so, and only on request", () => {
    const tokenizer = create({ ...letters, flags: { add_bos_token: true, add_eos_token: true } });
    expect(tokenizer.encode("ab")).toEqual([0, 1]);
    expect(tokenizer.encode("ab", { addSpecial: true })).toEqual([5, 0, 1, 6]);
    expect(tokenizer.encode("", { addSpecial: true })).toEqual([5, 6]);
    expect(create(letters).encode("ab", { addSpecial: true })).toEqual([0, 1]);
  });

  it("takes control tokens out of text only where it is told to", () => {
    const tokenizer = create(letters);
    expect(tokenizer.encode("a</s>b<think>")).toEqual(
      [0, 1, 4].toSpliced(1, 0, ...tokenizer.encode("</s>")),
    );
    expect(tokenizer.encode("</s>").every((id) => !tokenizer.isControl(id))).toBe(true);
    expect(tokenizer.encode("a</s>b<think>", { parseSpecial: true })).toEqual([0, 6, 1, 4]);
  });

  it("encodes segments: names of control tokens, and text that never is one", () => {
    const tokenizer = create(letters);
    const segments = [
      { text: "<s>", special: true },
      { text: "a<s>", special: false },
      { text: "</s>", special: true },
    ];
    expect(tokenizer.encodeSegments(segments)).toEqual([5, 0, ...tokenizer.encode("<s>"), 6]);
    expect(tokenizer.encodeSegments([])).toEqual([]);
  });

  it("begins a chat with one BOS, whether the template wrote it or not", () => {
    const tokenizer = create({ ...letters, flags: { add_bos_token: true } });
    const bos = { text: "<s>", special: true };
    const text = { text: "a", special: false };
    expect(tokenizer.encodeSegments([bos, text])).toEqual([5, 0]);
    expect(tokenizer.encodeSegments([text])).toEqual([5, 0]);
    expect(tokenizer.encodeSegments([{ text: "<s>", special: false }])[0]).toBe(5);
  });

  it("puts a space before text behind a control token, as SentencePiece does", () => {
    const spm = ["<unk>", "<s>", "</s>", "\u2581", "a", "<u>"];
    const tokenizer = create({ tokens: spm, types: [2, 3, 3, 1, 1, 4] });
    expect(tokenizer.encode("a<u>a")).toEqual([3, 4, 5, 3, 4]);
    const segments = [
      { text: "a", special: false },
      { text: "a", special: false },
      { text: "</s>", special: true },
      { text: "a", special: false },
    ];
    expect(tokenizer.encodeSegments(segments)).toEqual([1, 3, 4, 4, 2, 3, 4]);
  });

  it("drops white space behind the tokens that swallow it", () => {
    const tokenizer = create({
      ...letters,
      tokens: [...tokens.slice(0, 5), "<x>", "</s>"],
      name: "phi3",
    });
    expect(tokenizer.encode("a<x> \n b", { parseSpecial: true })).toEqual([0, 5, 1]);
    expect(tokenizer.encode("<x> <x>", { parseSpecial: true })).toEqual([5, 5]);
  });

  it("gives no bytes for control tokens, unused tokens and ids that are none", () => {
    const tokenizer = create({ ...letters, types: [1, 5, 1, 1, 4, 3, 3] });
    expect([5, 6, 1, -1, 7, 0.5].map((id) => tokenizer.bytes(id).length)).toEqual([
      0,
      0,
      0,
      0,
      0,
      0,
    ]);
    expect([...tokenizer.bytes(4)]).toEqual([...new TextEncoder().encode("<think>")]);
  });

  it("tells the texts of its control tokens", () => {
    expect(create(letters)).toMatchObject({
      controlTexts: ["</s>", "<s>"],
      bosText: "<s>",
      eosText: "</s>",
      n_vocab: 7,
    });
  });

  it.each(["smollm2", "tiny-bpe", "tiny-spm"] as const)(
    "never makes a control token of any text: %s",
    (name) => {
      const tokenizer = createTokenizer(goldenMetadata(name));
      const piece = fc.oneof(
        fc.constantFrom(...tokenizer.controlTexts, "<|", "|>", "<", ">", "im_", "start", "</"),
        fc.string({ unit: "grapheme", maxLength: 5 }),
      );
      fc.assert(
        fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
          const text = pieces.join("").toWellFormed();
          const ids = tokenizer.encode(text);
          expect(ids.filter((id) => tokenizer.isControl(id))).toEqual([]);
          const back = new TextDecoder("utf-8", { ignoreBOM: true }).decode(
            bytesOf(tokenizer, ids),
          );
          const spaced = tokenizer.spacePrefix && text !== ""
            ? ` ${text.replaceAll("\u2581", " ")}`
            : text;
          expect(back).toBe(spaced);
        }),
        { numRuns: 500 },
      );
    },
  );
});
