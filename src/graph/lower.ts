/**
 * Lowering: rewrites runs of recorded ops into the forms that a backend computes faster, one table
 * row each.
 *
 * Without rows it is the identity: the reference that every row is compared with.
 *
 * @module
 */
import { Graph, type Tensor, type WeightLookup } from "./record.ts";

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

/**
 * Two products of one input become one product with a weight that is joined at load, when SwiGLU
 * reads both.
 */
export const joinGateUp: Rewrite = {
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
    return g.swiglu(g.mul_mat(joined, lowered(x1)));
  },
};

/** The rows that ggml's CPU backend profits from. */
export const cpuRewrites: readonly Rewrite[] = [joinGateUp];

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
