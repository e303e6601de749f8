import { describe, expect, it } from "bun:test";
import { createTokenizer } from "../../src/text/tokenizer.ts";
import { bytesOf, goldenCases, goldenMetadata } from "./vocabs.ts";

const { cases, vocabs } = goldenCases();
const hex = (bytes: Uint8Array): string => bytes.toHex();

describe.each(["smollm2", "tiny-bpe", "tiny-spm"] as const)("the tokenizer of %s", (name) => {
  const tokenizer = createTokenizer(goldenMetadata(name));
  const golden = vocabs[name]!;
  const comparable = cases.map(({ name, text }, i) => ({ name, text, i, ids: golden.plain[i]! }))
    .filter(({ ids }) => ids !== null);

  it("has llama.cpp's special ids", () => {
    expect([tokenizer.bos, tokenizer.eos]).toEqual([golden.bos, golden.eos]);
    expect([...tokenizer.endIds].sort((a, b) => a - b)).toEqual(golden.endIds);
  });

  it("encodes every text as llama.cpp does", () => {
    const wrong = comparable.filter(({ text, ids }) => `${tokenizer.encode(text)}` !== `${ids}`);
    expect(wrong.map(({ name }) => name)).toEqual([]);
    expect(comparable.length).toBeGreaterThan(110);
  });

  it("encodes every text as llama.cpp does where control tokens are parsed", () => {
    const wrong = comparable.filter(({ text, ids, i }) =>
      `${tokenizer.encode(text, { parseSpecial: true })}` !== `${golden.special[i] ?? ids}`
    );
    expect(wrong.map(({ name }) => name)).toEqual([]);
    expect(Object.keys(golden.special).length).toBeGreaterThan(5);
  });

  it("gives the bytes back as llama.cpp does", () => {
    const wrong = comparable.filter(({ text, ids, i }) => {
      const bytes = bytesOf(tokenizer, ids);
      const dropSpace = tokenizer.spacePrefix && bytes[0] === 0x20;
      const wanted = golden.back[i] ?? hex(new TextEncoder().encode(text));
      return hex(dropSpace ? bytes.subarray(1) : bytes) !== wanted;
    });
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });

  it("adds BOS and EOS as llama.cpp does", () => {
    const { text } = cases.find(({ name }) => name === "words")!;
    expect(tokenizer.encode(text, { addSpecial: true })).toEqual(golden.wordsWithBosAndEos);
  });
});
