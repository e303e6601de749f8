import { describe, expect, it } from "bun:test";
import { parseRoofline } from "../../bench/roofline.ts";
import { EngineError } from "../../src/errors.ts";

const line = {
  threads: 2,
  read_gb_s: 31.5,
  int8_gops: 946,
  int4_gops: 947,
  f32_gflops: 236.25,
  bf16_gflops: 0,
  int8_instruction: "vpdpbusd zmm",
};

describe("parseRoofline()", () => {
  it("reads the line that the program prints", () => {
    expect(parseRoofline(`${JSON.stringify(line)}\n`)).toEqual({
      threads: 2,
      readGbS: 31.5,
      int8Gops: 946,
      int4Gops: 947,
      f32Gflops: 236.25,
      bf16Gflops: 0,
      int8Instruction: "vpdpbusd zmm",
    });
  });

  it.each([
    ["nothing", ""],
    ["no JSON", "Illegal instruction"],
    ["a figure that is missing", JSON.stringify({ ...line, read_gb_s: undefined })],
    ["a figure of zero", JSON.stringify({ ...line, int8_gops: 0 })],
  ])("refuses %s", (_case, printed) => {
    expect(() => parseRoofline(printed)).toThrow(EngineError);
    expect(() => parseRoofline(printed)).toThrow("Cannot read the roofline");
  });
});
