import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { Bpe } from "../../src/text/bpe.ts";
import { preTokenizer } from "../../src/text/pretokenizers.ts";
import type { Scheme } from "../../src/text/scheme.ts";
import { Vocab } from "../../src/text/vocab.ts";
import { bytesOf, goldenMetadata, metadataOf, type TestVocab } from "./vocabs.ts";

function bpe(test: TestVocab, pre = "gpt-2"): Scheme {
  const metadata = metadataOf(test);
  const vocab = new Vocab(metadata, { addBos: false });
  return new Bpe(vocab, metadata.strings("tokenizer.ggml.merges"), preTokenizer(pre), false);
}

function encode(scheme: Scheme, text: string): number[] {
  const ids: number[] = [];
  scheme.encode(text, ids, true);
  return ids;
}

describe("Bpe", () => {
  it("merges by rank, inside words only", () => {
    const tokens = ["a", "b", "ab", "\u0120", "\u0120a", "bb"];
    const scheme = bpe({ tokens, merges: ["b b", "a b", "\u0120 a"] });
    expect(encode(scheme, "abab")).toEqual([2, 2]);
    expect(encode(scheme, "abb")).toEqual([0, 5]);
    expect(encode(scheme, "ab ab")).toEqual([2, 3, 2]);
    expect(encode(scheme, "a a")).toEqual([0, 4]);
  });

  it("takes whole words as they are where the model does", () => {
    const test = { tokens: ["a", "b", "c", "abc"], merges: ["x y"] };
    expect(encode(bpe(test, "dbrx"), "abc")).toEqual([0, 1, 2]);
    expect(encode(bpe(test, "llama-bpe"), "abc")).toEqual([3]);
  });

  it("never makes a control token of plain text", () => {
    const tokens = ["a", "b", "ab"];
    const test = { tokens, types: [1, 1, 3], merges: ["a b"] };
    expect(encode(bpe(test, "llama-bpe"), "ab")).toEqual([0, 1]);
    expect(encode(bpe(test), "ab")).toEqual([0, 1]);
  });

  it("spells what no token covers by its bytes and leaves out bytes without a token", () => {
    const tokens = ["a", "\u00c3", "\u00a9"];
    expect(encode(bpe({ tokens, merges: [] }), "\u00e9ax")).toEqual([1, 2, 0]);
    // The pair merges, but nothing is called so.
    expect(encode(bpe({ tokens, merges: ["a \u00c3"] }), "a\u00e9")).toEqual([0, 1, 2]);
  });

  it("takes halves of surrogate pairs for U+FFFD", () => {
    const tokens = ["\u00ef", "\u00bf", "\u00bd"];
    expect(encode(bpe({ tokens, merges: [] }), "\ud800")).toEqual([0, 1, 2]);
  });

  it("gives the bytes of letters, and user-defined tokens as they are written", () => {
    const scheme = bpe({
      tokens: ["\u0120a\u00c3", "\u0120", "\u4f60"],
      types: [1, 4, 1],
      merges: [],
    });
    expect([...scheme.bytes(0)]).toEqual([0x20, 0x61, 0xc3]);
    expect([...scheme.bytes(1)]).toEqual([0xc4, 0xa0]);
    expect([...scheme.bytes(2)]).toEqual([0xe4, 0xbd, 0xa0]);
  });

  it("gives back any text that it encoded", () => {
    const metadata = goldenMetadata("tiny-bpe");
    const vocab = new Vocab(metadata, { addBos: false });
    const merges = metadata.strings("tokenizer.ggml.merges");
    for (const pre of ["gpt-2", "smollm", "llama-bpe", "qwen2", "default", "deepseek-llm"]) {
      const scheme = new Bpe(vocab, merges, preTokenizer(pre), false);
      fc.assert(
        fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
          const back = new TextDecoder().decode(bytesOf(scheme, encode(scheme, text)));
          expect(back).toBe(text.replace(/^\ufeff/, ""));
        }),
        { numRuns: 300 },
      );
    }
  });

  it("encodes a word of a megabyte in little time", () => {
    const metadata = goldenMetadata("tiny-bpe");
    const vocab = new Vocab(metadata, { addBos: false });
    const merges = metadata.strings("tokenizer.ggml.merges");
    const scheme = new Bpe(vocab, merges, preTokenizer("qwen2"), false);
    let state = 1;
    const letter = (): string => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return String.fromCharCode(97 + (state >>> 16) % 26);
    };
    for (const word of ["a".repeat(1e6), Array.from({ length: 1e6 }, letter).join("")]) {
      const start = performance.now();
      const ids = encode(scheme, word);
      // A queue takes under a second; looking for the best pair anew each time would take hours.
      expect(performance.now() - start).toBeLessThan(10_000);
      expect(bytesOf(scheme, ids).length).toBe(1e6);
    }
  }, 60_000);
});
