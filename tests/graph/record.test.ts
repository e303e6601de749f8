import { describe, expect, test } from "bun:test";
import { ShapeError } from "../../src/errors.ts";
import { Graph, type RopeParams } from "../../src/graph/record.ts";
import { tile_type } from "../../src/graph/tile.ts";

const rope: RopeParams = {
  n_dims: 8,
  mode: "normal",
  n_ctx_orig: 64,
  freq_base: 10_000,
  freq_scale: 1,
  ext_factor: 0,
  attn_factor: 1,
  beta_fast: 32,
  beta_slow: 1,
};

const weights: Record<string, { type: string; ne: readonly [number, number, number, number] }> = {
  a: { type: "q4_1", ne: [64, 32, 1, 1] },
  b: { type: "q4_1", ne: [64, 16, 1, 1] },
  other_type: { type: "f16", ne: [64, 16, 1, 1] },
  other_row: { type: "q4_1", ne: [32, 16, 1, 1] },
  router: { type: "f32", ne: [64, 4, 1, 1] },
  experts: { type: "q4_1", ne: [64, 32, 4, 1] },
  fewer: { type: "q4_1", ne: [64, 32, 3, 1] },
  down: { type: "q4_1", ne: [32, 64, 4, 1] },
};
const graph = (): Graph => new Graph((name) => weights[name]);

describe("Graph", () => {
  test("weight() gives the same value for the same name and throws for a name that the file lacks", () => {
    const g = graph();
    expect(g.weight("a")).toBe(g.weight("a"));
    expect(g.weight_if_present("none")).toBeUndefined();
    expect(() => g.weight("none")).toThrow(
      new ShapeError('Cannot record weight: the model has no tensor "none"'),
    );
  });

  test("concat_weights() joins rows and refuses parts of other types or row lengths", () => {
    const g = graph();
    expect(g.concat_weights(["a", "b"]).ne).toEqual([64, 48, 1, 1]);
    expect(() => g.concat_weights(["a", "other_type"])).toThrow(ShapeError);
    expect(() => g.concat_weights(["a", "other_row"])).toThrow(ShapeError);
    expect(() => g.concat_weights([])).toThrow(ShapeError);
  });

  test("concat_weights() joins stacks matrix by matrix and refuses other numbers of them", () => {
    const g = graph();
    expect(g.concat_weights(["experts", "experts"]).ne).toEqual([64, 64, 4, 1]);
    expect(() => g.concat_weights(["experts", "fewer"])).toThrow(ShapeError);
    expect(() => g.concat_weights(["a", "experts"])).toThrow(ShapeError);
  });

  test("moe() gives a row for each token and refuses weights that do not belong together", () => {
    const g = graph();
    const [router, gate, down] = [g.weight("router"), g.weight("experts"), g.weight("down")];
    const weights = { router, gate, up: gate, down };
    const x = g.input("x", "f32", 64, 3);
    expect(g.moe(x, weights, 2).ne).toEqual([64, 3, 1, 1]);
    for (const n of [0, 5, 1.5]) expect(() => g.moe(x, weights, n)).toThrow(ShapeError);
    const fewer = g.weight("fewer");
    for (
      const wrong of [{ router: g.weight("a") }, { gate: fewer, up: fewer }, { up: down }, {
        down: gate,
      }, { router: g.input("r", "f32", 64, 4) }]
    ) {
      expect(() => g.moe(x, { ...weights, ...wrong }, 2)).toThrow(ShapeError);
    }
    expect(() => g.moe(g.input("y", "f32", 32, 3), weights, 2)).toThrow(ShapeError);
  });

  test("moe_packed() takes gate and up as one, and refuses what is added in another shape", () => {
    const g = graph();
    const gate_up = g.concat_weights(["experts", "experts"]);
    const weights = { router: g.weight("router"), gate_up, down: g.weight("down") };
    const x = g.input("x", "f32", 64, 3);
    expect(g.moe_packed(x, weights, 2, x).ne).toEqual([64, 3, 1, 1]);
    expect(() => g.moe_packed(x, weights, 2, g.input("h", "f32", 64, 2))).toThrow(ShapeError);
    const narrow = { ...weights, gate_up: g.weight("experts") };
    expect(() => g.moe_packed(x, narrow, 2)).toThrow(ShapeError);
  });

  test("input() refuses sizes that are not positive integers", () => {
    for (const n of [0, -1, 1.5, NaN, Infinity]) {
      expect(() => graph().input("x", "f32", n)).toThrow(ShapeError);
    }
  });

  test("get_rows() gives f32 rows and refuses indices that are not an i32 vector", () => {
    const g = graph();
    const rows = g.get_rows(g.weight("a"), g.input("ids", "i32", 5));
    expect([rows.type, rows.ne]).toEqual(["f32", [64, 5, 1, 1]]);
    expect(() => g.get_rows(g.weight("a"), g.input("x", "f32", 5))).toThrow(ShapeError);
    expect(() => g.get_rows(g.weight("a"), g.input("y", "i32", 5, 2))).toThrow(ShapeError);
  });

  test("slice() gives a part of every row and refuses what the rows do not have", () => {
    const g = graph();
    const x = g.input("x", "f32", 64, 3);
    expect(g.slice(x, 16, 32).ne).toEqual([32, 3, 1, 1]);
    expect(() => g.slice(x, 48, 32)).toThrow(ShapeError);
  });

  test("quantize_rms_norm() and quantize_swiglu() give tiles and refuse other shapes", () => {
    const g = graph();
    const x = g.input("x", "f32", 64, 3);
    expect(g.quantize_rms_norm(x, g.input("w", "f32", 64), 1e-5).ne).toEqual([112, 3, 1, 1]);
    expect(() => g.quantize_rms_norm(x, g.input("v", "f32", 32), 1e-5)).toThrow(ShapeError);
    expect(g.quantize_swiglu(x).ne).toEqual([56, 3, 1, 1]);
    expect(() => g.quantize_swiglu(g.input("y", "f32", 32, 3))).toThrow(ShapeError);
    expect(g.quantize(x, "i32").ne).toEqual([64, 3, 1, 1]);
    expect(g.quantize_swiglu(x, "i32").ne).toEqual([32, 3, 1, 1]);
  });

  test("mul_mat_packed() refuses tiles that belong to another kind of weights", () => {
    const g = new Graph((name) => ({ type: name, ne: [64, 32, 1, 1] }));
    const x = g.input("x", "f32", 64, 3);
    for (const type of ["f32", "f16", "bf16", "q4_0", "q6_K"]) {
      const tiles = [g.quantize(x, "i8"), g.quantize(x, "i32")] as const;
      const [right, wrong] = tile_type(type) === "i8" ? tiles : tiles.toReversed();
      expect(g.mul_mat_packed(g.weight(type), right!).ne).toEqual([32, 3, 1, 1]);
      expect(() => g.mul_mat_packed(g.weight(type), wrong!)).toThrow(ShapeError);
    }
  });

  test("mul_mat_packed() adds what has the product's shape", () => {
    const g = graph();
    const tiles = g.quantize(g.input("x", "f32", 64, 3));
    const a = g.weight("a");
    expect(g.mul_mat_packed(a, tiles, g.input("sum", "f32", 32, 3)).ne).toEqual([32, 3, 1, 1]);
    expect(() => g.mul_mat_packed(a, tiles, g.input("bias", "f32", 32))).toThrow(ShapeError);
    expect(() => g.mul_mat_packed(a, g.input("z", "f32", 64, 3))).toThrow(ShapeError);
  });

  test("get_rows_packed() takes weights of whole panels and a vector of i32", () => {
    const g = graph();
    const a = g.weight("a");
    const rows = g.get_rows_packed(a, g.input("ids", "i32", 5));
    expect([rows.type, rows.ne]).toEqual(["f32", [64, 5, 1, 1]]);
    expect(() => g.get_rows_packed(a, g.input("x", "f32", 5))).toThrow(ShapeError);
    expect(() => g.get_rows_packed(a, g.input("y", "i32", 5, 2))).toThrow(ShapeError);
    const free = g.input("free", "f32", 64, 32);
    expect(() => g.get_rows_packed(free, g.input("z", "i32", 5))).toThrow(ShapeError);
  });

  test("mul_mat() gives [n, m] and refuses rows of different length and operands that are not f32", () => {
    const g = graph();
    expect(g.mul_mat(g.weight("a"), g.input("x", "f32", 64, 3)).ne).toEqual([32, 3, 1, 1]);
    expect(() => g.mul_mat(g.weight("a"), g.input("y", "f32", 63, 3))).toThrow(ShapeError);
    expect(() => g.mul_mat(g.weight("a"), g.input("z", "f16", 64, 3))).toThrow(ShapeError);
    expect(() => g.mul_mat(g.input("w", "f32", 64, 2, 2), g.input("v", "f32", 64))).toThrow(
      ShapeError,
    );
  });

  test("add() and mul() repeat the second operand along sizes of 1 only", () => {
    const g = graph();
    const x = g.input("x", "f32", 8, 3);
    expect(g.add(x, g.input("bias", "f32", 8)).ne).toEqual([8, 3, 1, 1]);
    expect(g.mul(x, g.input("one", "f32", 1)).ne).toEqual([8, 3, 1, 1]);
    expect(() => g.add(x, g.input("short", "f32", 4))).toThrow(ShapeError);
    expect(() => g.mul(g.input("small", "f32", 8), x)).toThrow(ShapeError);
  });

  test("rms_norm() refuses a negative or missing eps", () => {
    const g = graph();
    expect(() => g.rms_norm(g.input("x", "f32", 8), -1)).toThrow(ShapeError);
    expect(() => g.rms_norm(g.input("x", "f32", 8), NaN)).toThrow(ShapeError);
  });

  test("rope() refuses positions, dimensions and frequency factors that do not fit", () => {
    const g = graph();
    const x = g.input("x", "f32", 16, 2, 3);
    const pos = g.input("pos", "i32", 3);
    expect(g.rope(x, pos, rope).ne).toEqual([16, 2, 3, 1]);
    expect(() => g.rope(x, g.input("p4", "i32", 4), rope)).toThrow(ShapeError);
    expect(() => g.rope(x, g.input("pf", "f32", 3), rope)).toThrow(ShapeError);
    for (const n_dims of [0, 7, 18, 1.5]) {
      expect(() => g.rope(x, pos, { ...rope, n_dims })).toThrow(ShapeError);
    }
    expect(() => g.rope(x, pos, rope, g.input("f", "f32", 3))).toThrow(ShapeError);
  });

  test("swiglu_split() needs one shape, swiglu() needs two halves", () => {
    const g = graph();
    const x = g.input("x", "f32", 8, 3);
    expect(g.swiglu(x).ne).toEqual([4, 3, 1, 1]);
    expect(() => g.swiglu(g.input("odd", "f32", 7))).toThrow(ShapeError);
    expect(() => g.swiglu_split(x, g.input("y", "f32", 8, 2))).toThrow(ShapeError);
  });

  test("reshape() keeps the number of values", () => {
    const g = graph();
    const x = g.input("x", "f32", 8, 3);
    expect(g.reshape(x, 4, 2, 3).ne).toEqual([4, 2, 3, 1]);
    expect(() => g.reshape(x, 4, 2, 2)).toThrow(ShapeError);
  });

  test("attention() needs heads that share evenly and the same tokens in q, k and v", () => {
    const g = graph();
    const heads = (name: string, n: number, tokens = 3) => g.input(name, "f32", 16, n, tokens);
    const params = { il: 0, kq_scale: 0.25 };
    expect(g.attention(heads("q", 6), heads("k", 2), heads("v", 2), params).ne).toEqual([
      96,
      3,
      1,
      1,
    ]);
    expect(() => g.attention(heads("q5", 5), heads("k", 2), heads("v", 2), params)).toThrow(
      ShapeError,
    );
    expect(() => g.attention(heads("q", 6), heads("k4", 2, 4), heads("v4", 2, 4), params)).toThrow(
      ShapeError,
    );
    expect(() => g.attention(heads("q", 6), heads("k", 2), heads("v3", 3), params)).toThrow(
      ShapeError,
    );
  });
});
