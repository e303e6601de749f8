import { describe, expect, it } from "bun:test";
import { tensorTypes, type_name } from "../../src/gguf/types.ts";

describe("tensorTypes", () => {
  it("has the types of ggml 0.25.1 and none of the removed ones", () => {
    const removed = [4, 5, 31, 32, 33, 36, 37, 38];
    const numbers = Array.from({ length: 43 }, (_, i) => i).filter((i) => !removed.includes(i));
    expect([...tensorTypes.keys()]).toEqual(numbers);
  });

  // Bits of a weight, as the papers and ggml-common.h add them up.
  it.each([
    ["f32", 32],
    ["f16", 16],
    ["bf16", 16],
    ["f64", 64],
    ["i8", 8],
    ["i16", 16],
    ["i32", 32],
    ["i64", 64],
    ["q4_0", 4.5],
    ["q4_1", 5],
    ["q5_0", 5.5],
    ["q5_1", 6],
    ["q8_0", 8.5],
    ["q8_1", 9],
    ["q2_K", 2.625],
    ["q3_K", 3.4375],
    ["q4_K", 4.5],
    ["q5_K", 5.5],
    ["q6_K", 6.5625],
    ["q8_K", 9.125],
    ["iq1_s", 1.5625],
    ["iq1_m", 1.75],
    ["iq2_xxs", 2.0625],
    ["iq2_xs", 2.3125],
    ["iq2_s", 2.5625],
    ["iq3_xxs", 3.0625],
    ["iq3_s", 3.4375],
    ["iq4_nl", 4.5],
    ["iq4_xs", 4.25],
    ["tq1_0", 1.6875],
    ["tq2_0", 2.0625],
    ["mxfp4", 4.25],
    ["nvfp4", 4.5],
    ["q1_0", 1.125],
    ["q2_0", 2.25],
  ])("stores %s in %d bits a value", (name, bits) => {
    const type = [...tensorTypes.values()].find((t) => t.name === name)!;
    expect((type.bytes * 8) / type.block).toBe(bits);
  });

  it("stores K and IQ types in blocks of 256", () => {
    const large = [...tensorTypes.values()].filter(({ block }) => block === 256);
    expect(large.map(({ name }) => name).sort()).toEqual([
      ...["iq1_m", "iq1_s", "iq2_s", "iq2_xs", "iq2_xxs", "iq3_s", "iq3_xxs", "iq4_xs"],
      ...["q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "q8_K", "tq1_0", "tq2_0"],
    ]);
  });
});

describe("type_name", () => {
  it("gives ggml's name", () => {
    expect(type_name(3)).toBe("q4_1");
  });

  it("throws on a number that no type has", () => {
    expect(() => type_name(4)).toThrow("no such type");
  });
});
