import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { GgufError, ModelError } from "../../src/errors.ts";
import type { Scheme } from "../../src/text/scheme.ts";
import { Spm } from "../../src/text/spm.ts";
import { Vocab } from "../../src/text/vocab.ts";
import { bytesOf, goldenMetadata, metadataOf, type TestVocab } from "./vocabs.ts";

function spm(test: TestVocab): Scheme {
  const metadata = metadataOf(test);
  return new Spm(new Vocab(metadata, { unk: 0, addBos: false }), metadata);
}

function encode(scheme: Scheme, text: string, first = false): number[] {
  const ids: number[] = [];
  scheme.encode(text, ids, first);
  return ids;
}

describe("Spm", () => {
  const tokens = ["<unk>", "a", "b", "ab", "ba", "aba", "\u2581", "\u2581a", "<0xC3>", "<0xA9>"];
  const types = [2, 1, 1, 1, 1, 1, 1, 1, 6, 6];

  it("merges the pair of the best score first, the leftmost among equals", () => {
    const better = spm({ tokens, types, scores: [0, -9, -9, -2, -1, -9, -9, -9, 0, 0] });
    expect(encode(better, "aab")).toEqual([1, 3]);
    expect(encode(better, "abb")).toEqual([3, 2]);
    expect(encode(better, "bab")).toEqual([4, 2]);
    const equal = spm({ tokens, types, scores: [0, -9, -9, -1, -1, -9, -9, -9, 0, 0] });
    expect(encode(equal, "bab")).toEqual([4, 2]);
    expect(encode(equal, "abab")).toEqual([3, 3]);
  });

  it("writes spaces as U+2581, with one before the first text", () => {
    const scheme = spm({ tokens, types });
    expect(encode(scheme, " a")).toEqual([7]);
    expect(encode(scheme, "a", true)).toEqual([7]);
    expect(encode(scheme, "", true)).toEqual([6]);
    expect(encode(scheme, "")).toEqual([]);
    const without = spm({ tokens, types, flags: { add_space_prefix: false } });
    expect(encode(without, "a", true)).toEqual([1]);
    expect([scheme.spacePrefix, without.spacePrefix]).toEqual([true, false]);
  });

  it("spells what no token covers by bytes, and bytes without a token by the unknown one", () => {
    expect(encode(spm({ tokens, types }), "a\u00e9x")).toEqual([1, 8, 9, 0]);
  });

  it("never makes a control token of plain text", () => {
    const scheme = spm({ tokens: ["<unk>", "a", "b", "ab"], types: [2, 1, 1, 3] });
    expect(encode(scheme, "ab")).toEqual([1, 2]);
  });

  it("gives the bytes of tokens", () => {
    const scheme = spm({
      tokens: ["\u2581a\u2581", "<0xC3>", "\u2581", "<0x-1>"],
      types: [1, 6, 4, 6],
    });
    expect([...scheme.bytes(0)]).toEqual([0x20, 0x61, 0x20]);
    expect([...scheme.bytes(1)]).toEqual([0xc3]);
    expect([...scheme.bytes(2)]).toEqual([0xe2, 0x96, 0x81]);
    expect(new TextDecoder().decode(scheme.bytes(3))).toBe("<0x-1>");
  });

  it("takes all scores for equal where the file has none, and refuses too few", () => {
    expect(encode(spm({ tokens, types }), "abab")).toEqual([5, 2]);
    expect(() => spm({ tokens, types, scores: [0] })).toThrow(ModelError);
    expect(() => spm({ tokens, types, scores: [0] })).toThrow("has 1 elements, expected 10");
  });

  it("refuses scores that are no numbers", () => {
    const metadata = metadataOf({ tokens: ["a"], ids: { scores: 1 } });
    expect(() => new Spm(new Vocab(metadata, { addBos: false }), metadata)).toThrow(GgufError);
  });

  const metadata = goldenMetadata("tiny-spm");
  const tiny = new Spm(new Vocab(metadata, { addBos: false }), metadata);

  it("gives back any text that it encoded", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        const back = new TextDecoder("utf-8", { ignoreBOM: true }).decode(
          bytesOf(tiny, encode(tiny, text)),
        );
        // U+2581 is how a space is written: that one comes back as a space.
        expect(back).toBe(text.replaceAll("\u2581", " "));
      }),
      { numRuns: 1000 },
    );
  });

  it.each(["a", "ab", " ", "\u4f60", "e "])("encodes a megabyte of %j in little time", (unit) => {
    const start = performance.now();
    const text = unit.repeat(1e6 / unit.length);
    const ids = encode(tiny, text);
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(new TextDecoder().decode(bytesOf(tiny, ids)) === text).toBe(true);
  }, 60_000);
});
