import { describe, expect, test } from "bun:test";
import { ShapeError } from "../../src/errors.ts";
import { GGML_TYPES } from "../../src/ggml/symbols.generated.ts";
import { row_size, type_id } from "../../src/ggml/tensor.ts";
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

describe("row_size", () => {
  test("gives the bytes of a row and refuses one that ends within a block", () => {
    expect([row_size("f32", 3), row_size("f16", 3), row_size("q8_0", 64)]).toEqual([12, 6, 68]);
    expect(() => row_size("q8_0", 48)).toThrow(ShapeError);
  });
});
