import { describe, expect, test } from "bun:test";
import { ShapeError } from "../../src/errors.ts";
import { GGML_TYPES } from "../../src/ggml/symbols.generated.ts";
import { type_id, type_size } from "../../src/ggml/tensor.ts";
import { tensorTypes } from "../../src/gguf/types.ts";

describe("type_id", () => {
  test("knows every type that a file may hold, with the number and the block that ggml has for it", () => {
    for (const [id, { name, block, bytes }] of tensorTypes) {
      expect([name, type_id(name)]).toEqual([name, id]);
      const entry: { blockSize: number; typeSize: number } | undefined = Object.values(GGML_TYPES)
        .find((t) => t.id === id);
      expect([name, entry?.blockSize, entry?.typeSize]).toEqual([name, block, bytes]);
    }
  });

  test("throws ShapeError for a type that ggml lacks", () => {
    expect(() => type_id("q9_9")).toThrow(ShapeError);
  });
});

describe("type_size", () => {
  test("gives the bytes of one value and refuses types in blocks", () => {
    expect([type_size("f32"), type_size("f16"), type_size("i64")]).toEqual([4, 2, 8]);
    expect(() => type_size("q4_1")).toThrow(ShapeError);
  });
});
