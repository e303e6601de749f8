import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { Detokenizer } from "../../src/text/detokenizer.ts";

/** A tokenizer whose tokens are given as bytes. */
function tokens(pieces: readonly (readonly number[])[], spacePrefix = false) {
  return { spacePrefix, bytes: (id: number) => Uint8Array.from(pieces[id]!) };
}

/** The texts that tokens with these bytes give one after the other, and what is left at the end. */
function texts(pieces: readonly (readonly number[])[]): string[] {
  const detokenizer = new Detokenizer(tokens(pieces));
  return [...pieces.map((_, id) => detokenizer.push(id)), detokenizer.flush()];
}

describe("Detokenizer", () => {
  it("holds the bytes of a code point back until it is whole", () => {
    const detokenizer = new Detokenizer(tokens([[0x61, 0xf0, 0x9f], [0x98], [0x80, 0x62]]));
    expect([detokenizer.push(0), detokenizer.pending]).toEqual(["a", true]);
    expect([detokenizer.push(1), detokenizer.pending]).toEqual(["", true]);
    expect([detokenizer.push(2), detokenizer.pending]).toEqual(["\u{1f600}b", false]);
    expect(detokenizer.flush()).toBe("");
  });

  it("lets go what no byte can save", () => {
    expect(texts([[0x61, 0x80], [0xff], [0xc0], [0xe0, 0x80], [0xed, 0xa0], [0xf4, 0x90], [0xf5]]))
      .toEqual([
        "a\ufffd",
        "\ufffd",
        "\ufffd",
        "\ufffd\ufffd",
        "\ufffd\ufffd",
        "\ufffd\ufffd",
        "\ufffd",
        "",
      ]);
  });

  it("makes one U+FFFD of a code point that another one cuts short", () => {
    expect(texts([[0xe4, 0xbd], [0x79]])).toEqual(["", "\ufffdy", ""]);
  });

  it("flushes a code point that was cut short", () => {
    const detokenizer = new Detokenizer(tokens([[0x63, 0xc3]]));
    expect([detokenizer.push(0), detokenizer.flush(), detokenizer.pending]).toEqual([
      "c",
      "\ufffd",
      false,
    ]);
  });

  it("gives nothing for tokens without text, and holds on over them", () => {
    expect(texts([[0xc3], [], [0xa9]])).toEqual(["", "", "\u00e9", ""]);
  });

  it("keeps a byte order mark", () => {
    expect(texts([[0xef, 0xbb, 0xbf, 0x61]])).toEqual(["\ufeffa", ""]);
  });

  it("drops the space before a text only where the vocabulary adds one and the text begins", () => {
    const pieces = [[], [0x20, 0x20, 0x61], [0x20, 0x62]];
    const read = (spacePrefix: boolean, first: boolean): string => {
      const detokenizer = new Detokenizer(tokens(pieces, spacePrefix), { first });
      return pieces.map((_, id) => detokenizer.push(id)).join("");
    };
    expect(read(true, true)).toBe(" a b");
    expect(read(true, false)).toBe("  a b");
    expect(read(false, true)).toBe("  a b");
  });

  it("gives in pieces what a TextDecoder gives of all bytes", () => {
    // Bytes that begin, go on and end code points are as common as others.
    const byte = fc.oneof(
      fc.nat(255),
      fc.constantFrom(0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc2, 0xe0, 0xe4, 0xed, 0xf0, 0xf4),
    );
    const pieces = fc.array(fc.array(byte, { maxLength: 5 }), { maxLength: 30 });
    fc.assert(
      fc.property(pieces, (pieces) => {
        const all = Uint8Array.from(pieces.flat());
        expect(texts(pieces).join("")).toBe(
          new TextDecoder("utf-8", { ignoreBOM: true }).decode(all),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it("gives the same of tokens that come again, in this answer or another", () => {
    const pieces = [[0x61], [0xc3], [0xa9], [0x20, 0x62], [0xf0, 0x9f, 0x98], [0x80], [], [0xff]];
    const ids = fc.array(fc.nat(pieces.length - 1), { maxLength: 40 });
    fc.assert(fc.property(ids, ids, (one, other) => {
      const tokenizer = tokens(pieces);
      for (const ids of [one, other]) {
        const detokenizer = new Detokenizer(tokenizer);
        const given = ids.map((id) => detokenizer.push(id)).join("") + detokenizer.flush();
        const all = Uint8Array.from(ids.flatMap((id) => pieces[id]!));
        expect(given).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(all));
      }
    }));
  });

  it("drops the space of a first token that was known with it", () => {
    const tokenizer = tokens([[0x20, 0x61]], true);
    const [later, first] = [false, true].map((first) => new Detokenizer(tokenizer, { first }));
    expect([later!.push(0), first!.push(0), first!.push(0)]).toEqual([" a", "a", " a"]);
  });

  it("never holds back more than a code point", () => {
    fc.assert(fc.property(fc.array(fc.nat(255), { minLength: 4 }), (bytes) => {
      const detokenizer = new Detokenizer(tokens([bytes]));
      expect(detokenizer.push(0) !== "").toBe(true);
      expect(detokenizer.flush().length).toBeLessThanOrEqual(1);
    }));
  });
});
