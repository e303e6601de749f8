import { describe, expect, it } from "bun:test";
import { linearLayers, measureLinear, operations, productGraphs } from "../../bench/linear.ts";
import { weightLookup } from "../../src/core/tensors.ts";
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

describe("productGraphs()", () => {
  const layers = linearLayers(gguf, 16, () => true);
  const graphs = productGraphs(layers, weightLookup(gguf));

  it("has all products of the layers, those of a type and shape of weight in one graph", () => {
    expect(graphs.map(({ nodes }) => nodes.filter(({ op }) => op.kind === "mul_mat_packed").length))
      .toEqual([30, 30, 30, 30]);
    expect(graphs.reduce((sum, graph) => sum + operations(graph), 0)).toBe(operations(layers));
  });

  it("quantizes the rows of a graph once", () => {
    const { nodes } = graphs[0]!;
    expect(nodes.filter(({ op }) => op.kind === "quantize").length).toBe(1);
  });
});

describe("measureLinear()", () => {
  it("computes them with the file's weights", async () => {
    const { layersGops, productsGops } = await measureLinear(path, 1, 16);
    expect(layersGops).toBeGreaterThan(0);
    expect(productsGops).toBeGreaterThan(0);
  });
});
