import { describe, expect, test } from "bun:test";
import { expectTensors, weightLookup } from "../../src/core/tensors.ts";
import { GgufError } from "../../src/errors.ts";
import type { Gguf, TensorInfo } from "../../src/gguf/reader.ts";

const tensor: TensorInfo = { name: "w", type: 3, ne: [64, 2, 1, 1], offset: 96, size: 80 };
const gguf = { file: "a.gguf", tensors: new Map([["w", tensor]]) } as unknown as Gguf;

describe("expectTensors", () => {
  test("takes the right shape and a missing tensor that is optional", () => {
    expectTensors(gguf, [{ name: "w", ne: [64, 2] }, { name: "bias", ne: [2], optional: true }]);
  });

  test("names the file, the tensor, its place and both shapes when they differ", () => {
    const thrown = (): unknown => {
      try {
        expectTensors(gguf, [{ name: "w", ne: [64, 3] }]);
      } catch (error) {
        return error;
      }
    };
    expect(thrown()).toBeInstanceOf(GgufError);
    expect(thrown()).toMatchObject({ file: "a.gguf", key: "w", offset: 96 });
    expect(String(thrown())).toContain("[64, 2, 1, 1], expected [64, 3]");
  });

  test("throws for a tensor that is missing", () => {
    expect(() => expectTensors(gguf, [{ name: "v", ne: [1] }])).toThrow(/"v" is missing/);
  });
});

describe("weightLookup", () => {
  test("gives type name and shape, and undefined for an unknown name", () => {
    expect(weightLookup(gguf)("w")).toEqual({ type: "q4_1", ne: [64, 2, 1, 1] });
    expect(weightLookup(gguf)("v")).toBeUndefined();
  });
});
