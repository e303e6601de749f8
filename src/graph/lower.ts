/**
 * Lowering: rewrites runs of recorded ops into the forms that a backend computes faster, one table
 * row each.
 *
 * Without rows it is the identity: the reference that every row is compared with.
 *
 * @module
 */
import { type DType, Graph, type Tensor, type WeightLookup } from "./record.ts";

/** One rewrite: looks at a value of the recorded graph and may build another in its place. */
export interface Rewrite {
  name: string;
  /**
   * Returns the value that takes the place of `node`, or undefined to leave it as it is.
   *
   * @param lowered gives the new value of an old one
   * @param uses how often an old value is read
   */
  apply(
    g: Graph,
    node: Tensor,
    lowered: (t: Tensor) => Tensor,
    uses: (t: Tensor) => number,
  ): Tensor | undefined;
}

/** Whether the backend keeps weights `[n_in, n_out]` of this type in panels. */
export type Packs = (type: DType, n_in: number, n_out: number) => boolean;

/** Products as the backend computes them fastest. */
class Products {
  readonly #packs: Packs;
  /** By the rows that were quantized: several products share them. */
  readonly #quantized = new WeakMap<Tensor, Tensor>();

  constructor(packs: Packs) {
    this.#packs = packs;
  }

  /** Whether weight `w` is kept in panels; each part that is joined in it must be whole panels. */
  packs(w: Tensor): boolean {
    if (w.op.kind !== "weight" || w.ne[2] !== 1 || w.ne[3] !== 1) return false;
    return this.#packs(w.type, w.ne[0], w.ne[1] / w.op.parts.length);
  }

  /** The product of weight `w` with `x`. */
  product(g: Graph, w: Tensor, x: Tensor): Tensor {
    if (!this.packs(w) || x.ne[2] !== 1 || x.ne[3] !== 1) return g.mul_mat(w, x);
    const known = this.#quantized.get(x);
    const quantized = known ?? g.quantize(x);
    this.#quantized.set(x, quantized);
    return g.mul_mat_packed(w, quantized);
  }
}

/** Products with weights become products with panels. */
const packProduct = (products: Products): Rewrite => ({
  name: "pack_product",
  apply(g, node, lowered) {
    const [w, x] = node.src;
    if (node.op.kind !== "mul_mat" || w?.op.kind !== "weight" || !products.packs(w)) {
      return undefined;
    }
    return products.product(g, g.concat_weights(w.op.parts), lowered(x!));
  },
});

/**
 * Two products of one input become one product with a weight that is joined at load, when SwiGLU
 * reads both.
 */
const joinGateUp = (products: Products): Rewrite => ({
  name: "join_gate_up",
  apply(g, node, lowered, uses) {
    if (node.op.kind !== "swiglu_split") return undefined;
    const [gate, up] = node.src;
    if (gate?.op.kind !== "mul_mat" || up?.op.kind !== "mul_mat") return undefined;
    const [w1, x1] = gate.src;
    const [w2, x2] = up.src;
    if (w1?.op.kind !== "weight" || w2?.op.kind !== "weight" || x1 === undefined || x1 !== x2) {
      return undefined;
    }
    if (uses(gate) !== 1 || uses(up) !== 1) return undefined;
    if (w1.type !== w2.type || w1.ne[1] !== w2.ne[1]) return undefined;
    const joined = g.concat_weights([...w1.op.parts, ...w2.op.parts]);
    return g.swiglu(products.product(g, joined, lowered(x1)));
  },
});

/**
 * Rows of a weight that products read too, a tied embedding, come from its panels, so that it
 * stands in memory once.
 */
const readPanels = (products: Products): Rewrite => ({
  name: "read_panels",
  apply(g, node, lowered, uses) {
    const [w, ids] = node.src;
    if (node.op.kind !== "get_rows" || w?.op.kind !== "weight") return undefined;
    if (uses(w) === 1 || !products.packs(w)) return undefined;
    return g.get_rows_packed(g.concat_weights(w.op.parts), lowered(ids!));
  },
});

/** The rows that the CPU backend profits from. */
export function cpuRewrites(packs: Packs): Rewrite[] {
  const products = new Products(packs);
  return [joinGateUp(products), packProduct(products), readPanels(products)];
}

/**
 * A lowered graph: what is left of the recorded nodes, in an order in which each follows its
 * sources.
 */
export interface Lowered {
  nodes: readonly Tensor[];
  output: Tensor | undefined;
}

/**
 * Applies the rewrites to a recorded graph and drops what nothing reads any more.
 *
 * @param output the value that the plan gives back; undefined when only the cache is written
 */
export function lower(
  recorded: Graph,
  output: Tensor | undefined,
  lookup: WeightLookup,
  rewrites: readonly Rewrite[],
): Lowered {
  const reads = new Int32Array(recorded.nodes.length);
  for (const node of recorded.nodes) for (const s of node.src) reads[s.id]! += 1;

  const g = new Graph(lookup);
  const done = new Map<Tensor, Tensor>();
  const lowered = (t: Tensor): Tensor => done.get(t) ?? visit(t);
  const visit = (node: Tensor): Tensor => {
    let result: Tensor | undefined;
    for (const rewrite of rewrites) {
      result = rewrite.apply(g, node, lowered, (t) => reads[t.id]!);
      if (result) break;
    }
    result ??= g.copy(node, node.src.map(lowered));
    done.set(node, result);
    return result;
  };
  // Attention writes the cache, so it stays even when nothing reads its result.
  for (const node of recorded.nodes) if (node.op.kind === "attention") lowered(node);
  const out = output && lowered(output);
  return { nodes: g.nodes, output: out };
}
