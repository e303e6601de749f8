import { describe, expect, it } from "bun:test";
import { linearLayers, measureLinear, operations } from "../../bench/linear.ts";
import { workOf } from "../../bench/work.ts";
import { readGguf } from "../../src/gguf/reader.ts";
import { resolveModel } from "../../src/store/reference.ts";

const { path } = resolveModel("smollm2");
const gguf = readGguf(path);

describe("linearLayers()", () => {
  const { nodes } = linearLayers(gguf, 16, () => true);

  it("has the products of every layer, and of the rest only what is fused with them", () => {
    const count = (kind: string): number => nodes.filter(({ op }) => op.kind === kind).length;
    expect(count("mul_mat_packed")).toBe(4 * 30);
    expect(["quantize_rms_norm", "quantize", "quantize_swiglu"].map(count)).toEqual([60, 30, 30]);
    expect(["attention", "rope", "mul_mat", "add", "reshape"].map(count)).toEqual([0, 0, 0, 0, 0]);
  });

  it("has the operations that the work of a prompt counts", () => {
    expect(operations({ nodes, output: undefined })).toBe(workOf(gguf).linearOps * 16);
  });
});

describe("measureLinear()", () => {
  it("computes them with the file's weights", async () => {
    expect(await measureLinear(path, 1, 16)).toBeGreaterThan(0);
  });
});
