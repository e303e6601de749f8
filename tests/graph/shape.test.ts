import { describe, expect, test } from "bun:test";
import { count, f32, full, isVector, type Ne, sameShape, show } from "../../src/graph/shape.ts";

const of = (ne: Ne, type = "f32") => ({ type, ne });

describe("shape", () => {
  test("full() fills up with ones and refuses what is no size", () => {
    expect(full([3, 2])).toEqual([3, 2, 1, 1]);
    for (const bad of [0, -1, 1.5, NaN]) {
      expect(() => full([3, bad])).toThrow("expected 1 or more");
    }
  });

  test("count() multiplies all sizes", () => {
    expect(count([2, 3, 4, 5])).toBe(120);
  });

  test("isVector() and sameShape() look at every size", () => {
    expect(isVector(of([7, 1, 1, 1]))).toBe(true);
    for (const ne of [[7, 2, 1, 1], [7, 1, 2, 1], [7, 1, 1, 2]] as const) {
      expect(isVector(of(ne))).toBe(false);
      expect(sameShape(of(ne), of([7, 1, 1, 1]))).toBe(false);
      expect(sameShape(of(ne), of(ne, "f16"))).toBe(true);
    }
  });

  test("f32() names what it refuses", () => {
    f32("add", of([4, 1, 1, 1]));
    expect(show(of([64, 9, 1, 1], "q4_1"))).toBe("q4_1 [64, 9, 1, 1]");
    expect(() => f32("add", of([4, 1, 1, 1], "f16"))).toThrow(
      "Cannot record add: an operand is f16 [4, 1, 1, 1], expected f32",
    );
  });
});
