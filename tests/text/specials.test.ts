import { describe, expect, it } from "bun:test";
import { Specials } from "../../src/text/specials.ts";
import { Vocab } from "../../src/text/vocab.ts";
import { metadataOf } from "./vocabs.ts";

function specials(tokens: readonly string[], types: readonly number[], name = ""): Specials {
  return new Specials(new Vocab(metadataOf({ tokens, types }), { addBos: false }), name);
}

/** The parts, tokens as numbers. */
function parts(found: Specials, text: string, parseControl: boolean): (string | number)[] {
  return found.split(text, parseControl).map((part) => typeof part === "string" ? part : part.id);
}

describe("Specials", () => {
  const found = specials(["a", "<s>", "<user>", "<unk>"], [1, 3, 4, 2]);

  it("finds control tokens only where they are asked for", () => {
    expect(parts(found, "x<s>y<unk>", false)).toEqual(["x<s>y<unk>"]);
    expect(parts(found, "x<s>y<unk>", true)).toEqual(["x", 1, "y", 3]);
  });

  it("finds user-defined tokens in any text", () => {
    expect(parts(found, "<user><user> <user", false)).toEqual([2, 2, " <user"]);
  });

  it("gives nothing for an empty text", () => {
    expect(parts(found, "", true)).toEqual([]);
  });

  it("looks for the longest token first, wherever it is", () => {
    const overlapping = specials(["<a", "<a>", ">bcd"], [3, 3, 3]);
    expect(parts(overlapping, "<a>bcd<a>", true)).toEqual([0, 2, 1]);
  });

  it("takes tokens that end an answer for control tokens, whatever the file says", () => {
    const ends = specials(["a", "<|im_end|>"], [1, 1]);
    expect(parts(ends, "a<|im_end|>", false)).toEqual(["a<|im_end|>"]);
    expect(parts(ends, "a<|im_end|>", true)).toEqual(["a", 1]);
  });

  it("knows the tokens of Phi-3 that swallow white space", () => {
    const phi = specials(["<s>", "<|user|>"], [3, 3], "Phi-3 mini");
    expect(phi.tokens.map(({ id, stripRight }) => [id, stripRight])).toEqual([
      [1, true],
      [0, false],
    ]);
  });
});
