import { describe, expect, it } from "bun:test";
import { ModelError } from "../../src/errors.ts";
import { preTokenizer, splitWords } from "../../src/text/pretokenizers.ts";

const words = (name: string, text: string): string[] =>
  splitWords(text, preTokenizer(name).patterns);

describe("preTokenizer()", () => {
  it("lists the known names when it is given another", () => {
    expect(() => preTokenizer("klingon")).toThrow(ModelError);
    expect(() => preTokenizer("klingon")).toThrow(
      /its pre-tokenizer is "klingon", expected one of a\.x-4\.0, .*\bgpt-2\b.*\bsmollm\b/,
    );
  });

  it("knows which models merge no whole words, and which begin with BOS", () => {
    expect(preTokenizer("llama-bpe")).toMatchObject({ wholeWords: true, addBos: true });
    expect(preTokenizer("smollm")).toMatchObject({ wholeWords: false, addBos: false });
  });
});

describe("splitWords()", () => {
  it.each([
    ["gpt-2", "It's 1234  in\n\n x.", ["It", "'s", " 1234", " ", " in", "\n\n", " x", "."]],
    ["gpt-2", "DON'T", ["DON", "'", "T"]],
    ["smollm", "a 1234", ["a", " ", "1", "2", "3", "4"]],
    ["smollm", "a  1", ["a", "  ", "1"]],
    ["llama-bpe", "DON'T 12345 x\r\n\r\n y", [
      "DON",
      "'T",
      " ",
      "123",
      "45",
      " x",
      "\r\n\r\n",
      " y",
    ]],
    ["qwen2", "12 a_b", ["1", "2", " a", "_b"]],
    ["qwen35", "e\u0301t\u0301 x", ["e\u0301t\u0301", " x"]],
    ["qwen2", "e\u0301t\u0301 x", ["e", "\u0301t", "\u0301", " x"]],
    ["falcon", "a1234.b", ["a", "123", "4", ".", "b"]],
    ["default", "ab12 $5", ["ab", "12", " ", "$", "5"]],
    ["deepseek-llm", "a\u3000b  ", ["a", "\u3000b", "  "]],
    ["deepseek-coder", "\u4f60\u597d x1", ["\u4f60\u597d", " x", "1"]],
    ["deepseek-v3", "\u4f60a 1234", ["\u4f60", "a", " ", "123", "4"]],
    ["tekken", "camelCase HTTPServer 12", ["camel", "Case", " HTTPServer", " ", "1", "2"]],
    ["gpt-4o", "I'll go/\n", ["I'll", " go", "/\n"]],
    ["bloom", "a, b", ["a", ",", " b"]],
  ])("cuts as %s does: %j", (name, text, expected) => {
    expect(words(name, text)).toEqual(expected);
  });

  it("cuts alike whatever version of Unicode the runtime knows", () => {
    // A letter of Unicode 17 counts as no letter, in ranges of code points it counts all the same.
    expect(words("gpt-2", "a\u088fb\u{323b0}")).toEqual(["a", "\u088f", "b", "\u{323b0}"]);
    expect(words("deepseek-coder", ") \u088f")).toEqual([")", " ", "\u088f"]);
  });

  it("takes for white space what Unicode does, not what JavaScript does", () => {
    expect(words("gpt-2", "a\u0085\u0085b")).toEqual(["a", "\u0085", "\u0085", "b"]);
    expect(words("gpt-2", "a\ufeff\ufeffb")).toEqual(["a", "\ufeff\ufeff", "b"]);
  });

  it.each([
    "gpt-2",
    "smollm",
    "default",
    "llama-bpe",
    "qwen2",
    "deepseek-llm",
    "deepseek-v3",
    "gpt-4o",
  ])(
    "loses nothing and takes no long time over hostile text: %s",
    (name) => {
      const { patterns } = preTokenizer(name);
      for (const unit of [" ", "a", "A", "\n", " \n", "'", "\u0301", "1", " x", "\ud83d\ude00"]) {
        for (const end of ["", "x", "\n"]) {
          const text = unit.repeat(100_000 / unit.length) + end;
          const start = performance.now();
          expect(splitWords(text, patterns).join("") === text).toBe(true);
          expect(performance.now() - start).toBeLessThan(2000);
        }
      }
    },
  );
});
