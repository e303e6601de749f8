/**
 * Lowering: rewrites runs of recorded ops into the forms that a backend computes faster, one table
 * row each.
 *
 * Without rows it is the identity: the reference that every row is compared with.
 *
 * @module
 */
import { ShapeError } from "../errors.ts";
import { type DType, Graph, type Op, show, type Tensor, type WeightLookup } from "./record.ts";
import { tile_type, type TileType } from "./tile.ts";

/** What a rewrite may ask about the recorded graph, and of the new one. */
export interface Lowering {
  /** The graph that is being made. */
  readonly g: Graph;
  /** The new value of an old one. */
  lowered(t: Tensor): Tensor;
  /** The old nodes that read an old value. */
  readers(t: Tensor): readonly Tensor[];
}

/** One rewrite: looks at a value of the recorded graph and may build another in its place. */
export interface Rewrite {
  name: string;
  /** Returns the value that takes the place of `node`, or undefined to leave it as it is. */
  apply(node: Tensor, lowering: Lowering): Tensor | undefined;
}

/** Whether the backend keeps weights `[n_in, n_out]` of this type in panels. */
export type Packs = (type: DType, n_in: number, n_out: number) => boolean;

/** The names that a weight was joined from; undefined for what is no weight. */
export const partsOf = (t: Tensor | undefined): readonly string[] | undefined =>
  t?.op.kind === "weight" ? t.op.parts : undefined;

const isMatrix = ({ ne }: Tensor): boolean => ne[2] === 1 && ne[3] === 1;

/** Products as the backend computes them fastest. */
class Products {
  readonly #packs: Packs;
  /** By the recorded rows: several products share them. */
  readonly #quantized = new WeakMap<Tensor, Map<TileType, Tensor>>();
  /** By the recorded product: parts of one that computes them all. */
  readonly #slices = new WeakMap<Tensor, Tensor>();

  constructor(packs: Packs) {
    this.#packs = packs;
  }

  /** Whether weight `w` is kept in panels; the parts that are joined in it are of one size. */
  packs(w: Tensor | undefined): w is Tensor {
    if (w?.op.kind !== "weight" || !isMatrix(w)) return false;
    return this.#packs(w.type, w.ne[0], w.ne[1] / w.op.parts.length);
  }

  /** The product of weight `w`, which is kept in panels, with recorded rows `x`. */
  product(w: Tensor, x: Tensor, lowering: Lowering, added?: Tensor): Tensor {
    return lowering.g.mul_mat_packed(w, this.#quantize(x, tile_type(w.type), lowering), added);
  }

  /**
   * A mixture of experts whose weights are quantized and kept in panels; else undefined: experts of
   * floats stay the backend's own.
   */
  experts({ op, src }: Tensor, { g, lowered }: Lowering, added?: Tensor): Tensor | undefined {
    if (op.kind !== "moe") return undefined;
    const [x, router, gate, up, down] = src as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const pack = [gate, up, down].every(({ type, ne }) =>
      tile_type(type) === "i8" && this.#packs(type, ne[0], ne[1])
    );
    if (!pack || gate.type !== up.type || router.type !== "f32") return undefined;
    const weights = {
      router: g.concat_weights(partsOf(router)!),
      gate_up: g.concat_weights([...partsOf(gate)!, ...partsOf(up)!]),
      down: g.concat_weights(partsOf(down)!),
    };
    return g.moe_packed(lowered(x), weights, op.n_expert_used, added && lowered(added));
  }

  /** Gate and up as one product, when SwiGLU alone reads them; else undefined. */
  gateUp(node: Tensor, lowering: Lowering): Tensor | undefined {
    if (node.op.kind !== "swiglu_split") return undefined;
    const [gate, up] = node.src;
    if (gate?.op.kind !== "mul_mat" || up?.op.kind !== "mul_mat") return undefined;
    const [w1, x1] = gate.src;
    const [w2, x2] = up.src;
    const [parts1, parts2] = [partsOf(w1), partsOf(w2)];
    if (parts1 === undefined || parts2 === undefined || x1 === undefined || x1 !== x2) {
      return undefined;
    }
    if (lowering.readers(gate).length !== 1 || lowering.readers(up).length !== 1) return undefined;
    if (w1!.type !== w2!.type || w1!.ne[1] !== w2!.ne[1]) return undefined;
    const joined = lowering.g.concat_weights([...parts1, ...parts2]);
    return this.packs(joined) && isMatrix(x1)
      ? this.product(joined, x1, lowering)
      : lowering.g.mul_mat(joined, lowering.lowered(x1));
  }

  /** The products with panels of one type that read the rows of this one, itself included. */
  kin(node: Tensor, { readers }: Lowering): Tensor[] {
    const [w, x] = node.src;
    if (node.op.kind !== "mul_mat" || !this.packs(w) || !isMatrix(x!)) return [];
    return readers(x!).filter(({ op, src: [w2, x2] }) =>
      op.kind === "mul_mat" && this.packs(w2) && w2.type === w.type && x2 === x
    );
  }

  /**
   * A product with panels; one product computes all of a type that read the same rows, and each
   * takes its part.
   */
  packed(node: Tensor, lowering: Lowering): Tensor | undefined {
    const known = this.#slices.get(node);
    if (known !== undefined) return known;
    const kin = this.kin(node, lowering);
    if (kin.length === 0) return undefined;
    const [, x] = node.src;
    const joined = lowering.g.concat_weights(kin.flatMap(({ src }) => [...partsOf(src[0])!]));
    const product = this.product(joined, x!, lowering);
    if (kin.length === 1) return product;
    let first = 0;
    for (const one of kin) {
      const n = one.src[0]!.ne[1];
      this.#slices.set(one, lowering.g.slice(product, first, n));
      first += n;
    }
    return this.#slices.get(node);
  }

  /** `x` as products with panels read it, together with the norm or the SwiGLU that makes it. */
  #quantize(x: Tensor, type: TileType, lowering: Lowering): Tensor {
    const known = this.#quantized.get(x) ?? new Map<TileType, Tensor>();
    this.#quantized.set(x, known);
    if (known.has(type)) return known.get(type)!;
    const { g, lowered } = lowering;
    const [a, weight] = x.src;
    const parts = partsOf(weight);
    const isNorm = x.op.kind === "mul" && a?.op.kind === "rms_norm" && parts !== undefined &&
      weight?.type === "f32" && weight.ne[0] === x.ne[0] && weight.ne[1] === 1;
    const gateUp = this.gateUp(x, lowering);
    const quantized = isNorm
      ? g.quantize_rms_norm(lowered(a.src[0]!), g.concat_weights(parts), a.op.eps, type)
      : gateUp !== undefined
      ? g.quantize_swiglu(gateUp, type)
      : g.quantize(lowered(x), type);
    known.set(type, quantized);
    return quantized;
  }
}

/** What is added to a product with panels, or to experts, is added where its sums are written. */
const addToProduct = (products: Products): Rewrite => ({
  name: "add_to_product",
  apply(node, lowering) {
    const [product, added] = node.src;
    if (node.op.kind !== "add") return undefined;
    const isWhole = added!.ne.every((n, i) => n === product!.ne[i]);
    if (!isWhole || lowering.readers(product!).length !== 1) return undefined;
    if (product!.op.kind === "moe") return products.experts(product!, lowering, added);
    if (products.kin(product!, lowering).length !== 1) return undefined;
    const [w, x] = product!.src;
    const weight = lowering.g.concat_weights(partsOf(w)!);
    return products.product(weight, x!, lowering, lowering.lowered(added!));
  },
});

/**
 * Two products of one input become one product with a weight that is joined at load, when SwiGLU
 * reads both.
 */
const joinGateUp = (products: Products): Rewrite => ({
  name: "join_gate_up",
  apply(node, lowering) {
    const product = products.gateUp(node, lowering);
    return product && lowering.g.swiglu(product);
  },
});

/** Products with weights become products with panels. */
const packProduct = (products: Products): Rewrite => ({
  name: "pack_product",
  apply: (node, lowering) => products.packed(node, lowering),
});

/** Mixtures of experts go through panels, the tokens of each expert together. */
const packExperts = (products: Products): Rewrite => ({
  name: "pack_experts",
  apply: (node, lowering) => products.experts(node, lowering),
});

/**
 * Rows of a weight that products read too, a tied embedding, come from its panels, so that it
 * stands in memory once.
 */
const readPanels = (products: Products): Rewrite => ({
  name: "read_panels",
  apply(node, { g, lowered, readers }) {
    const [w, ids] = node.src;
    if (node.op.kind !== "get_rows" || !products.packs(w)) return undefined;
    if (!readers(w).some(({ op }) => op.kind === "mul_mat")) return undefined;
    return g.get_rows_packed(g.concat_weights(partsOf(w)!), lowered(ids!));
  },
});

/**
 * Attention turns queries and keys itself, keys on their way into the cache; one table of sines
 * serves all layers.
 */
function ropeIntoCache(): Rewrite {
  const tables = new WeakMap<Tensor, Tensor[]>();
  const tableOf = ({ op, src: [, pos, factors] }: Tensor, lowering: Lowering): Tensor => {
    if (op.kind !== "rope") throw new ShapeError(`Cannot make a rope table of ${op.kind}`);
    const known = tables.get(pos!) ?? [];
    tables.set(pos!, known);
    const { kind: _, ...params } = op;
    const newFactors = factors && lowering.lowered(factors);
    const table = known.find((t) => t.src[1] === newFactors && isSameRope(t.op, op)) ??
      lowering.g.rope_table(lowering.lowered(pos!), params, newFactors);
    if (!known.includes(table)) known.push(table);
    return table;
  };
  return {
    name: "rope_into_cache",
    apply(node, lowering) {
      const [q, k, v] = node.src;
      if (node.op.kind !== "attention" || q!.op.kind !== "rope" || k!.op.kind !== "rope") {
        return undefined;
      }
      const isOne = isSameRope(q!.op, k!.op) && q!.src[1] === k!.src[1] && q!.src[2] === k!.src[2];
      if (!isOne) return undefined;
      const { lowered } = lowering;
      const [turned, keys] = [lowered(q!.src[0]!), lowered(k!.src[0]!)];
      return lowering.g.attention(turned, keys, lowered(v!), node.op, tableOf(q!, lowering));
    },
  };
}

/** Whether two rope ops, or tables of them, turn alike. */
function isSameRope(a: Op, b: Op): boolean {
  const text = (op: Op): string => JSON.stringify({ ...op, kind: "rope" });
  return text(a) === text(b);
}

/**
 * The rows that the CPU backend profits from.
 *
 * @param attends whether it attends by a kernel of its own
 */
export function cpuRewrites(packs: Packs, attends = true): Rewrite[] {
  const products = new Products(packs);
  return [
    addToProduct(products),
    joinGateUp(products),
    packProduct(products),
    packExperts(products),
    readPanels(products),
    ...attends ? [ropeIntoCache()] : [],
  ];
}

/** ggml would end the process over a value of another shape. */
function checkShape({ name }: Rewrite, node: Tensor, result: Tensor): void {
  if (result.type === node.type && result.ne.every((n, i) => n === node.ne[i])) return;
  throw new ShapeError(
    `Cannot lower ${node.op.kind} by ${name}: it gave ${show(result)}, expected ${show(node)}`,
  );
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
  const readers = new Map<Tensor, Tensor[]>(recorded.nodes.map((node) => [node, []]));
  for (const node of recorded.nodes) for (const s of node.src) readers.get(s)!.push(node);

  const done = new Map<Tensor, Tensor>();
  const lowering: Lowering = {
    g: new Graph(lookup),
    lowered: (t) => done.get(t) ?? visit(t),
    readers: (t) => readers.get(t)!,
  };
  const { g, lowered } = lowering;
  const visit = (node: Tensor): Tensor => {
    let result: Tensor | undefined;
    for (const rewrite of rewrites) {
      result = rewrite.apply(node, lowering);
      if (result === undefined) continue;
      checkShape(rewrite, node, result);
      break;
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
