import { describe, expect, it } from "bun:test";
import { chooseGguf, matchGgufs } from "../../src/store/gguf_choice.ts";

const REF = "hf:owner/tiny";
const many = [
  "README.md",
  "tiny-Q8_0.gguf",
  "tiny.IQ4_XS.gguf",
  "tiny-Q4_K_M.gguf",
  "tiny-Q4_K_S.gguf",
  "BF16/tiny-BF16-00001-of-00002.gguf",
  "BF16/tiny-BF16-00002-of-00002.gguf",
  "mmproj-F16.gguf",
];

describe("chooseGguf()", () => {
  it.each([
    ["the usual one where none is named", many, {}, "tiny-Q4_K_M.gguf"],
    ["the next usual one", ["a-Q8_0.gguf", "a-Q4_0.gguf", "a-F16.gguf"], {}, "a-Q4_0.gguf"],
    ["the only one", ["a.md", "a-IQ1_S.gguf"], {}, "a-IQ1_S.gguf"],
    ["a quantization", many, { quant: "Q8_0" }, "tiny-Q8_0.gguf"],
    ["a quantization in any case", many, { quant: "iq4_xs" }, "tiny.IQ4_XS.gguf"],
    ["a quantization by its whole name", many, { quant: "Q4_K_S" }, "tiny-Q4_K_S.gguf"],
    ["a file", many, { file: "mmproj-F16.gguf" }, "mmproj-F16.gguf"],
    ["one in a folder named for it", ["Q4_0/Q4_0.gguf"], { quant: "Q4_0" }, "Q4_0/Q4_0.gguf"],
  ])("takes %s", (_what, paths, wish, path) => {
    expect(chooseGguf(REF, paths, wish)).toBe(path);
  });

  it.each([
    [
      "an unknown quantization",
      many,
      { quant: "Q2_K" },
      'Cannot find the model "hf:owner/tiny": it has no GGUF file of Q2_K in one part, name one ' +
      "as hf:owner/repo/FILE: tiny-Q8_0.gguf, tiny.IQ4_XS.gguf, tiny-Q4_K_M.gguf, " +
      "tiny-Q4_K_S.gguf",
    ],
    [
      "part of a quantization's name",
      ["a-IQ4_0.gguf"],
      { quant: "Q4_0" },
      'Cannot find the model "hf:owner/tiny": it has no GGUF file of Q4_0, name one as ' +
      "hf:owner/repo/FILE: a-IQ4_0.gguf",
    ],
    [
      "a pattern",
      ["a-Q4_0.gguf"],
      { quant: "Q4.0" },
      'Cannot find the model "hf:owner/tiny": it has no GGUF file of Q4.0, name one as ' +
      "hf:owner/repo/FILE: a-Q4_0.gguf",
    ],
    [
      "no choice between unusual ones",
      ["a-F16.gguf", "a-F32.gguf"],
      {},
      'Cannot find the model "hf:owner/tiny": it can be several files, name one as ' +
      "hf:owner/repo/FILE: a-F16.gguf, a-F32.gguf",
    ],
    [
      "a file that is not there",
      ["a-F16.gguf"],
      { file: "b.gguf" },
      'Cannot find the model "hf:owner/tiny": it has no b.gguf, name one as ' +
      "hf:owner/repo/FILE: a-F16.gguf",
    ],
    [
      "a repository without any",
      ["model.safetensors"],
      {},
      'Cannot find the model "hf:owner/tiny": it has no GGUF file, name a repository of GGUF files',
    ],
  ])("refuses %s, and lists what there is", (_what, paths, wish, message) => {
    expect(() => chooseGguf(REF, paths, wish)).toThrow(message);
  });

  it("lists no more than a few files", () => {
    const paths = Array.from({ length: 20 }, (_, i) => `a-X${i}.gguf`);
    expect(() => chooseGguf(REF, paths, {})).toThrow(/ a-X7\.gguf and 12 more$/);
  });
});

describe("matchGgufs()", () => {
  it("gives all that a wish can mean", () => {
    expect(matchGgufs(["a-Q8_0.gguf", "b-Q8_0.gguf"], { quant: "Q8_0" }).length).toBe(2);
    expect(matchGgufs(["a.md"], {})).toEqual([]);
  });
});
