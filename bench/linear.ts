/**
 * The linear layers of a model alone: its own graph without attention, rotary embeddings and head,
 * with the file's weights, lowered and computed as a prompt is; and their products alone.
 *
 * usage: linear.ts MODEL.gguf THREADS TOKENS
 *
 * Prints one line of JSON: the most operations in a nanosecond that a pass did, of each.
 *
 * @module
 */
import process from "node:process";
import { weightLookup } from "../src/core/tensors.ts";
import { Backend, Plan } from "../src/ggml/backend.ts";
import { Library } from "../src/ggml/library.ts";
import { packsOf, Weights } from "../src/ggml/weights.ts";
import { type Gguf, readGguf } from "../src/gguf/reader.ts";
import { cpuRewrites, lower, type Lowered, type Packs, partsOf } from "../src/graph/lower.ts";
import { Graph, type Tensor, type WeightLookup } from "../src/graph/record.ts";
import { tile_type } from "../src/graph/tile.ts";
import { architecture } from "../src/models/mod.ts";

/** What the program prints. */
export interface LinearLine {
  /** Layers, 10^9 operations a second; a product with its addition is two. */
  readonly layersGops: number;
  /** The same of their products alone. */
  readonly productsGops: number;
}

/** As many as the roofline's, whose best pass the best one here is held against. */
const PASSES = 12;

/** Queries pass for what was attended to; so the products have the shapes that they always have. */
class LinearGraph extends Graph {
  override rope(a: Tensor): Tensor {
    return a;
  }

  override attention(q: Tensor): Tensor {
    return q.op.kind === "reshape" ? q.src[0]! : this.reshape(q, q.ne[0] * q.ne[1], q.ne[2]);
  }
}

/** The linear layers for so many tokens, and the norms, SwiGLU and sums that are fused in them. */
export function linearLayers(gguf: Gguf, n_tokens: number, packs: Packs): Lowered {
  const { metadata } = gguf;
  const arch = architecture(metadata.str("general.architecture"));
  const hp = arch.hparams(metadata, metadata.strings("tokenizer.ggml.tokens").length);
  const lookup = weightLookup(gguf);
  const g = new LinearGraph(lookup);
  const inputs = {
    tokens: g.input("tokens", "i32", n_tokens),
    pos: g.input("pos", "i32", n_tokens),
  };
  const head = arch.graph(g, hp, inputs);
  return lower(g, head.src[1], lookup, cpuRewrites(packs));
}

/** What the layers multiply their weights with; each is with a weight, and nothing else counts. */
function productsOf({ nodes }: Lowered): Tensor[] {
  return nodes.filter(({ op }) => op.kind === "mul_mat" || op.kind === "mul_mat_packed");
}

/** Operations of the products of a graph; a product with its addition is two. */
export function operations(graph: Lowered): number {
  return productsOf(graph).reduce(
    (sum, { src: [w], ne }) => sum + 2 * w!.ne[0] * w!.ne[1] * ne[1],
    0,
  );
}

/**
 * The products of the layers without anything else: for each type and shape of weight a graph that
 * multiplies those of all layers with the same rows. What one gives is gone when the next begins.
 */
export function productGraphs(layers: Lowered, lookup: WeightLookup): Lowered[] {
  const alike = Map.groupBy(
    productsOf(layers),
    ({ op, src: [w] }) => `${op.kind} ${w!.type} ${w!.ne}`,
  );
  return [...alike.values()].map((products) => {
    const g = new Graph(lookup);
    const [{ op, ne: [, n_tokens], src: [first] }] = products as [Tensor];
    const isPacked = op.kind === "mul_mat_packed";
    const x = g.input("rows", "f32", first!.ne[0], n_tokens);
    const rows = isPacked ? g.quantize(x, tile_type(first!.type)) : x;
    const firsts = products.map(({ src: [w] }) => {
      const weight = g.concat_weights(partsOf(w)!);
      return g.slice(isPacked ? g.mul_mat_packed(weight, rows) : g.mul_mat(weight, rows), 0, 1);
    });
    const output = firsts.reduce((sum, each) => g.add(sum, each));
    return { nodes: g.nodes, output };
  });
}

/** Computes them several times; gives the most operations in a nanosecond. */
export async function measureLinear(
  path: string,
  n_threads: number,
  n_tokens: number,
): Promise<LinearLine> {
  const gguf = readGguf(path);
  using library = await Library.open();
  using backend = new Backend(library, n_threads);
  const layers = linearLayers(gguf, n_tokens, packsOf(library, {}));
  using weights = Weights.load(library, gguf, layers);
  const cache = { k: [], v: [], type: "f16", n_cells: 0 } as const;
  const shape = { n_tokens, n_streams: 1, n_blocks: 1, n_outputs: n_tokens };
  const leastMs = (graph: Lowered): number => {
    using plan = new Plan(backend, graph, shape, { weights, cache, flashAttention: true });
    const inputs = graph.nodes.flatMap(({ op, type, ne }): [string, ArrayBufferView][] => {
      if (op.kind !== "input") return [];
      const values = Array.from({ length: ne[0] * ne[1] }, (_, i) => i % n_tokens);
      return [[op.name, type === "i32" ? Int32Array.from(values) : Float32Array.from(values)]];
    });
    let least = Infinity;
    for (let pass = 0; pass < PASSES; pass++) {
      // Memory of inputs may be used again by what is computed later.
      for (const [name, values] of inputs) plan.set(name, values);
      const started = performance.now();
      plan.compute();
      least = Math.min(least, performance.now() - started);
    }
    return least;
  };
  const ops = operations(layers) / 1e6;
  const graphs = productGraphs(layers, weightLookup(gguf));
  return {
    layersGops: ops / leastMs(layers),
    productsGops: ops / graphs.reduce((sum, graph) => sum + leastMs(graph), 0),
  };
}

if (import.meta.main) {
  const [path = "", threads = "2", tokens = "512"] = process.argv.slice(2);
  const line = await measureLinear(path, Number(threads), Number(tokens));
  process.stdout.write(`${JSON.stringify(line)}\n`);
  process.exit();
}
