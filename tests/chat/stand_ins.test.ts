import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { StandIns } from "../../src/chat/stand_ins.ts";
import { ModelError } from "../../src/errors.ts";

const special = (text: string) => ({ text, special: true });
const plain = (text: string) => ({ text, special: false });

describe("StandIns", () => {
  it("tells control tokens of the template from the same text of a user", () => {
    const standIns = new StandIns(["<s>", "</s>"]);
    const rendered = standIns.mark("<s>a") + standIns.shield("b</s>") + standIns.mark("</s>");
    expect(standIns.segments(rendered)).toEqual([
      special("<s>"),
      plain("ab</s>"),
      special("</s>"),
    ]);
  });

  it("finds the longest control token in a text of the template", () => {
    const standIns = new StandIns(["<a", "<a>", "[x]", "a+b"]);
    expect(standIns.segments(standIns.mark("<a><a [x]a+b"))).toEqual([
      special("<a>"),
      special("<a"),
      plain(" "),
      special("[x]"),
      special("a+b"),
    ]);
  });

  it("leaves alone control tokens that are plain words", () => {
    const standIns = new StandIns(["user", "pad_1"]);
    expect(standIns.mark("message.user pad_1")).toBe("message.user pad_1");
  });

  it("knows the role in a token that the template puts together", () => {
    const standIns = new StandIns(["<|user|>", "<|end|>", "[|assistant|]"]);
    const say = (role: string): string =>
      standIns.mark("<|") + standIns.shield(role) + standIns.mark("|>\n");
    expect(standIns.segments(say("user"))).toEqual([special("<|user|>"), plain("\n")]);
    expect(standIns.segments(say("assistant"))).toEqual([plain("<|assistant|>\n")]);
    // A role may not be the rest of any other token.
    expect(standIns.segments(say("end"))).toEqual([plain("<|end|>\n")]);
    expect(standIns.segments(standIns.mark("a[|") + "assistant" + standIns.mark("|]"))).toEqual([
      plain("a"),
      special("[|assistant|]"),
    ]);
  });

  it("gives a user's noncharacters back and makes no stand-ins of them", () => {
    const standIns = new StandIns(["<s>"]);
    const all = Array.from({ length: 32 }, (_, i) => String.fromCharCode(0xfdd0 + i)).join("");
    standIns.mark("<s>");
    expect(standIns.segments(standIns.shield(`${all}\ufdd0\ufde0`) as string)).toEqual([
      plain(`${all}\ufdd0\ufde0`),
    ]);
  });

  it("shields every string of a value, and halves of surrogate pairs become U+FFFD", () => {
    const standIns = new StandIns([]);
    expect(standIns.shield({ a: ["\ud800", 1, null, true], b: undefined, "\udc00": "x" })).toEqual({
      a: ["\ufffd", 1, null, true],
      "\ufffd": "x",
    });
  });

  it("keeps apart as many tokens as there are stand-ins, and refuses more", () => {
    const tokens = Array.from({ length: 225 }, (_, i) => `<${i}>`);
    const standIns = new StandIns(tokens);
    const marked = standIns.mark(tokens.slice(0, 224).join(""));
    expect(standIns.segments(marked).map(({ text }) => text)).toEqual(tokens.slice(0, 224));
    expect(() => standIns.mark("<224>")).toThrow(ModelError);
  });

  it("keeps a user's text plain whatever is done to it", () => {
    const controls = ["<s>", "<|im_end|>", "<|user|>", "\u00e9>"];
    const piece = fc.oneof(
      fc.constantFrom(
        ...controls,
        "<|",
        "|>",
        "user",
        "\ufdd0",
        "\ufde0",
        "\ufdde",
        "\ufddf",
        "\ud800",
        "\udc00",
      ),
      fc.string({ unit: "binary", maxLength: 4 }),
    );
    const text = fc.array(piece, { maxLength: 10 }).map((pieces) => pieces.join(""));
    const cut = fc.tuple(text, fc.nat(30), fc.nat(30));
    fc.assert(
      fc.property(fc.array(cut, { maxLength: 6 }), (cuts) => {
        const standIns = new StandIns(controls);
        for (const control of controls) standIns.mark(control);
        const user = cuts.map(([text, from, length]) =>
          (standIns.shield(text) as string).slice(from % 7, length).toLowerCase()
        ).join("");
        expect(standIns.segments(user).filter((segment) => segment.special)).toEqual([]);
      }),
      { numRuns: 2000 },
    );
  });

  it("gives well-formed text back as it was", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
      const standIns = new StandIns(["<s>"]);
      expect(standIns.plain(standIns.shield(text) as string)).toBe(text);
    }));
  });
});
