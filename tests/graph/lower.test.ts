import { describe, expect, test } from "bun:test";
import { cpuRewrites, lower, type Lowering } from "../../src/graph/lower.ts";
import { Graph, type RopeParams, type Tensor, type WeightLookup } from "../../src/graph/record.ts";

const lookup: WeightLookup = (name) => ({
  type: ["f16", "bf16", "q8_0"].find((type) => name.startsWith(type)) ?? "q4_1",
  ne: [64, 32, 1, 1],
});

const nothing = (): boolean => false;

/** A feed-forward layer as models record it. */
function feedForward(g: Graph, gate = "gate", up = "up"): { out: Tensor; gateProduct: Tensor } {
  const x = g.input("x", "f32", 64, 3);
  const gateProduct = g.mul_mat(g.weight(gate), x);
  const out = g.swiglu_split(gateProduct, g.mul_mat(g.weight(up), x));
  return { out, gateProduct };
}

const kinds = (nodes: readonly Tensor[]): string[] => nodes.map((n) => n.op.kind);

describe("lower", () => {
  test("without rewrites is the identity on what the output needs", () => {
    const g = new Graph(lookup);
    const { out } = feedForward(g);
    const lowered = lower(g, out, lookup, []);
    expect(kinds(lowered.nodes).sort()).toEqual(kinds(g.nodes).sort());
    expect(lowered.output?.op.kind).toBe("swiglu_split");
  });

  test("drops what neither the output nor the cache needs", () => {
    const g = new Graph(lookup);
    const { out } = feedForward(g);
    g.add(out, out);
    expect(kinds(lower(g, out, lookup, []).nodes)).not.toContain("add");
    expect(lower(g, undefined, lookup, []).nodes).toEqual([]);
  });

  test("keeps attention whose result nobody reads, because it writes the cache", () => {
    const g = new Graph(lookup);
    const heads = (name: string): Tensor => g.input(name, "f32", 16, 2, 3);
    g.attention(heads("q"), heads("k"), heads("v"), { il: 0, kq_scale: 1 });
    expect(kinds(lower(g, undefined, lookup, []).nodes)).toContain("attention");
  });

  test("puts every value behind its sources", () => {
    const g = new Graph(lookup);
    const { out } = feedForward(g);
    for (const node of lower(g, out, lookup, cpuRewrites(nothing)).nodes) {
      for (const source of node.src) expect(source.id).toBeLessThan(node.id);
    }
  });
});

describe("lower with a rewrite that gives another shape", () => {
  test("throws, because ggml would end the process", () => {
    const g = new Graph(lookup);
    const x = g.mul_mat(g.weight("w"), g.input("x", "f32", 64, 3));
    const wrong = {
      name: "wrong",
      apply: (node: Tensor, { g }: Lowering) =>
        node.op.kind === "mul_mat" ? g.input("y", "f32", 8) : undefined,
    };
    expect(() => lower(g, x, lookup, [wrong])).toThrow(
      "Cannot lower mul_mat by wrong: it gave f32 [8, 1, 1, 1], expected f32 [32, 3, 1, 1]",
    );
  });
});

describe("joinGateUp", () => {
  test("turns two products under SwiGLU into one with a joined weight", () => {
    const g = new Graph(lookup);
    const lowered = lower(g, feedForward(g).out, lookup, cpuRewrites(nothing));
    expect(kinds(lowered.nodes)).toEqual(["weight", "input", "mul_mat", "swiglu"]);
    const [weight] = lowered.nodes;
    expect(weight?.op).toEqual({ kind: "weight", parts: ["gate", "up"] });
    expect(weight?.ne).toEqual([64, 64, 1, 1]);
    expect(lowered.output?.ne).toEqual([32, 3, 1, 1]);
  });

  test("leaves products alone that something else reads too", () => {
    const g = new Graph(lookup);
    const { out, gateProduct } = feedForward(g);
    const lowered = lower(g, g.add(out, gateProduct), lookup, cpuRewrites(nothing));
    expect(kinds(lowered.nodes)).toContain("swiglu_split");
  });

  test("leaves weights of different types alone", () => {
    const g = new Graph(lookup);
    const lowered = lower(g, feedForward(g, "gate", "f16_up").out, lookup, cpuRewrites(nothing));
    expect(kinds(lowered.nodes)).toContain("swiglu_split");
  });

  test("leaves products with a bias alone", () => {
    const g = new Graph(lookup);
    const x = g.input("x", "f32", 64, 3);
    const bias = g.input("bias", "f32", 32);
    const gate = g.add(g.mul_mat(g.weight("gate"), x), bias);
    const out = g.swiglu_split(gate, g.mul_mat(g.weight("up"), x));
    expect(kinds(lower(g, out, lookup, cpuRewrites(nothing)).nodes)).toContain("swiglu_split");
  });
});

describe("packProduct", () => {
  const panels = (type: string, n_in: number, n_out: number): boolean =>
    type === "q4_1" && n_in % 32 === 0 && n_out % 16 === 0;

  test("computes all products of the same rows as one, and gives each its part", () => {
    const g = new Graph(lookup);
    const x = g.input("x", "f32", 64, 3);
    const sum = g.add(g.mul_mat(g.weight("q"), x), g.mul_mat(g.weight("k"), x));
    const lowered = lower(g, sum, lookup, cpuRewrites(panels));
    expect(kinds(lowered.nodes)).toEqual(
      ["weight", "input", "quantize", "mul_mat_packed", "slice", "slice", "add"],
    );
    const parts = lowered.nodes.flatMap(({ op }) => op.kind === "slice" ? [op.first] : []);
    expect(parts).toEqual([0, 32]);
    expect(lowered.output?.ne).toEqual([32, 3, 1, 1]);
  });

  test("joins products of unequal sizes", () => {
    const sizes: WeightLookup = (name) => ({
      type: "q4_1",
      ne: [64, name === "q" ? 48 : 16, 1, 1],
    });
    const g = new Graph(sizes);
    const x = g.input("x", "f32", 64, 3);
    const [q, k, v] = ["q", "k", "v"].map((name) => g.mul_mat(g.weight(name), x));
    const out = g.mul(g.reshape(q!, 16, 3, 3), g.add(k!, v!));
    const { nodes } = lower(g, out, sizes, cpuRewrites(panels));
    const [product] = nodes.filter(({ op }) => op.kind === "mul_mat_packed");
    expect(product?.ne).toEqual([80, 3, 1, 1]);
    const slices = nodes.filter(({ op }) => op.kind === "slice");
    expect(slices.map(({ ne }) => ne[0])).toEqual([48, 16, 16]);
  });

  test("quantizes rows once for products of two types", () => {
    const both = (type: string): boolean => type !== "f32";
    const g = new Graph(lookup);
    const x = g.input("x", "f32", 64, 3);
    const sum = g.add(g.mul_mat(g.weight("q"), x), g.mul_mat(g.weight("q8_0_k"), x));
    const found = kinds(lower(g, sum, lookup, cpuRewrites(both)).nodes);
    expect(found.filter((kind) => kind === "quantize")).toHaveLength(1);
    expect(found.filter((kind) => kind === "mul_mat_packed")).toHaveLength(2);
  });

  test("gives weights of floats tiles of floats, beside those of quantized weights", () => {
    const all = (): boolean => true;
    const g = new Graph(lookup);
    const x = g.input("x", "f32", 64, 3);
    const names = ["q", "f16_k", "bf16_v", "q8_0_w"];
    const products = names.map((name) => g.mul_mat(g.weight(name), x));
    const sum = products.reduce((a, b) => g.mul(a, b));
    const { nodes } = lower(g, sum, lookup, cpuRewrites(all));
    const tiles = nodes.filter(({ op }) => op.kind === "quantize");
    expect(tiles.map(({ type }) => type)).toEqual(["i8", "i32"]);
    const read = nodes.filter(({ op }) => op.kind === "mul_mat_packed")
      .map(({ src: [weight, rows] }) => [weight!.type, rows!.type]);
    expect(read).toEqual([["q4_1", "i8"], ["f16", "i32"], ["bf16", "i32"], ["q8_0", "i8"]]);
  });

  test("norms rows where they are quantized", () => {
    const norms: WeightLookup = (name) =>
      name === "norm" ? { type: "f32", ne: [64, 1, 1, 1] } : lookup(name);
    const g = new Graph(norms);
    const x = g.mul(g.rms_norm(g.input("x", "f32", 64, 3), 1e-5), g.weight("norm"));
    const out = g.mul_mat(g.weight("w"), x);
    const { nodes } = lower(g, out, norms, cpuRewrites(panels));
    expect(kinds(nodes)).toEqual(
      ["weight", "input", "weight", "quantize_rms_norm", "mul_mat_packed"],
    );
  });

  test("takes SwiGLU where it is quantized", () => {
    const down: WeightLookup = (name) =>
      name === "down" ? { type: "q4_1", ne: [32, 64, 1, 1] } : lookup(name);
    const g = new Graph(down);
    const { out } = feedForward(g);
    const { nodes } = lower(g, g.mul_mat(g.weight("down"), out), down, cpuRewrites(panels));
    expect(kinds(nodes).slice(-2)).toEqual(["quantize_swiglu", "mul_mat_packed"]);
    expect(kinds(nodes)).not.toContain("swiglu");
  });

  test("takes joined weights too", () => {
    const g = new Graph(lookup);
    const lowered = lower(g, feedForward(g).out, lookup, cpuRewrites(panels));
    expect(kinds(lowered.nodes)).toEqual([
      "weight",
      "input",
      "quantize",
      "mul_mat_packed",
      "swiglu",
    ]);
  });

  test("leaves joined weights whose parts are no whole panels", () => {
    const odd: WeightLookup = () => ({ type: "q4_1", ne: [64, 24, 1, 1] });
    const g = new Graph(odd);
    expect(kinds(lower(g, feedForward(g).out, odd, cpuRewrites(panels)).nodes)).toContain(
      "mul_mat",
    );
  });

  test("leaves products of other types and with what is no weight", () => {
    const g = new Graph(lookup);
    const x = g.input("x", "f32", 64, 3);
    const y = g.input("y", "f32", 64, 32);
    const out = g.add(g.mul_mat(g.weight("f16_w"), x), g.mul_mat(y, x));
    expect(kinds(lower(g, out, lookup, cpuRewrites(panels)).nodes)).not.toContain("quantize");
  });
});

describe("addToProduct", () => {
  const panels = (): boolean => true;

  test("adds to a product where its sums are written", () => {
    const g = new Graph(lookup);
    const x = g.input("x", "f32", 64, 3);
    const residual = g.input("residual", "f32", 32, 3);
    const { nodes, output } = lower(
      g,
      g.add(g.mul_mat(g.weight("w"), x), residual),
      lookup,
      cpuRewrites(panels),
    );
    expect(output?.op.kind).toBe("mul_mat_packed");
    expect(output?.src).toHaveLength(3);
    expect(kinds(nodes)).not.toContain("add");
  });

  test("leaves a bias, which is not of the product's shape, and products that are read twice", () => {
    const g = new Graph(lookup);
    const x = g.input("x", "f32", 64, 3);
    const product = g.mul_mat(g.weight("w"), x);
    const biased = g.add(product, g.input("bias", "f32", 32));
    expect(kinds(lower(g, biased, lookup, cpuRewrites(panels)).nodes)).toContain("add");
    const twice = g.add(product, biased);
    expect(kinds(lower(g, twice, lookup, cpuRewrites(panels)).nodes)).toContain("add");
  });
});

describe("readPanels", () => {
  const panels = (): boolean => true;

  test("reads a tied embedding from the panels of its product", () => {
    const g = new Graph(lookup);
    const embd = g.weight("embd");
    const out = g.mul_mat(embd, g.get_rows(embd, g.input("tokens", "i32", 3)));
    const { nodes } = lower(g, out, lookup, cpuRewrites(panels));
    expect(kinds(nodes)).toContain("get_rows_packed");
    expect(kinds(nodes).filter((kind) => kind === "weight")).toHaveLength(1);
  });

  test("leaves an embedding alone that no product reads", () => {
    const g = new Graph(lookup);
    const x = g.get_rows(g.weight("embd"), g.input("tokens", "i32", 3));
    const { nodes } = lower(g, g.mul_mat(g.weight("head"), x), lookup, cpuRewrites(panels));
    expect(kinds(nodes)).toContain("get_rows");
  });
});

describe("ropeIntoCache", () => {
  const params: RopeParams = {
    ...{ n_dims: 16, mode: "normal", n_ctx_orig: 64, freq_base: 10_000, freq_scale: 1 },
    ...{ ext_factor: 0, attn_factor: 1, beta_fast: 32, beta_slow: 1 },
  };

  /** Two layers of attention whose queries and keys are turned. */
  function layers(g: Graph, keys = params): Tensor {
    const pos = g.input("pos", "i32", 3);
    const heads = (name: string): Tensor => g.input(name, "f32", 16, 2, 3);
    const [first, second] = [0, 1].map((il) =>
      g.attention(
        g.rope(heads(`q${il}`), pos, params),
        g.rope(heads(`k${il}`), pos, keys),
        heads(`v${il}`),
        { il, kq_scale: 1 },
      )
    );
    return g.add(first!, second!);
  }

  test("lets attention turn queries and keys, by one table for all layers", () => {
    const g = new Graph(lookup);
    const { nodes } = lower(g, layers(g), lookup, cpuRewrites(nothing));
    expect(kinds(nodes)).not.toContain("rope");
    const tables = nodes.filter(({ op }) => op.kind === "rope_table");
    expect(tables.map(({ ne }) => ne)).toEqual([[32, 3, 1, 1]]);
    for (const { op, src } of nodes) if (op.kind === "attention") expect(src[3]).toBe(tables[0]);
  });

  test("leaves queries and keys alone that are turned in different ways", () => {
    const g = new Graph(lookup);
    const out = layers(g, { ...params, freq_base: 500_000 });
    const found = kinds(lower(g, out, lookup, cpuRewrites(nothing)).nodes);
    expect(found.filter((kind) => kind === "rope")).toHaveLength(4);
    expect(found).not.toContain("rope_table");
  });

  test("is left out where another attends", () => {
    const g = new Graph(lookup);
    const found = kinds(lower(g, layers(g), lookup, cpuRewrites(nothing, false)).nodes);
    expect(found).toContain("rope");
  });
});

describe("packExperts", () => {
  const panels = (type: string, _: number, n_out: number): boolean =>
    type === "q4_1" && n_out % 16 === 0;

  function experts(g: Graph): Tensor {
    const [router, gate, up, down] = ["router", "gate", "up", "down"].map((name) => g.weight(name));
    const weights = { router: router!, gate: gate!, up: up!, down: down! };
    return g.moe(g.input("x", "f32", 64, 3), weights, 2);
  }

  const shapes = (n_ff = 32, types: Record<string, string> = {}): WeightLookup => (name) => {
    if (name === "router") return { type: types["router"] ?? "f32", ne: [64, 4, 1, 1] };
    const type = types[name] ?? "q4_1";
    return { type, ne: name === "down" ? [n_ff, 64, 4, 1] : [64, n_ff, 4, 1] };
  };

  test("joins gate and up, and adds what is added", () => {
    const g = new Graph(shapes());
    const sum = g.add(experts(g), g.input("h", "f32", 64, 3));
    const { nodes, output } = lower(g, sum, shapes(), cpuRewrites(panels));
    expect(output?.op).toEqual({ kind: "moe_packed", n_expert_used: 2 });
    expect(output?.src).toHaveLength(5);
    const [, , gate_up] = output!.src;
    expect(gate_up?.op).toEqual({ kind: "weight", parts: ["gate", "up"] });
    expect(gate_up?.ne).toEqual([64, 64, 4, 1]);
    expect(kinds(nodes)).not.toContain("add");
  });

  test("leaves what is added to experts that something else reads too", () => {
    const g = new Graph(shapes());
    const out = experts(g);
    const twice = g.mul(g.add(out, g.input("h", "f32", 64, 3)), out);
    const found = kinds(lower(g, twice, shapes(), cpuRewrites(panels)).nodes);
    expect(found.filter((kind) => kind === "moe_packed")).toHaveLength(1);
    expect(found).toContain("add");
  });

  test.each<[string, WeightLookup]>([
    ["whose gates are no whole panels", shapes(24)],
    ["of other types", shapes(32, { down: "q2_K" })],
    ["of floats", shapes(32, { gate: "f16", up: "f16", down: "f16" })],
    ["with a gate and an up of two types", shapes(32, { up: "q8_0" })],
    ["with a router that is no f32", shapes(32, { router: "f16" })],
  ])("leaves experts %s", (_name, lookup) => {
    const g = new Graph(lookup);
    const all = (type: string, n_in: number, n_out: number): boolean =>
      ["q8_0", "f16"].includes(type) || panels(type, n_in, n_out);
    expect(kinds(lower(g, experts(g), lookup, cpuRewrites(all)).nodes)).toContain("moe");
  });
});
