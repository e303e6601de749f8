import { describe, expect, test } from "bun:test";
import { tile_len, tile_type } from "../../src/graph/tile.ts";

describe("tiles", () => {
  test("tile_type() keeps rows floats for weights of floats alone", () => {
    expect(["f16", "bf16"].map(tile_type)).toEqual(["i32", "i32"]);
    expect(["q4_0", "q6_K", "mxfp4"].map(tile_type)).toEqual(["i8", "i8", "i8"]);
  });

  test("tile_len() counts the numbers of each block of quants", () => {
    expect(tile_len(64, "i32")).toBe(64);
    expect(tile_len(64, "i8")).toBe(2 * (32 + 6 * 4));
  });
});
