/**
 * Graph: records what a model computes as a list of typed ops, with ggml's names and ggml's shape
 * rules.
 *
 * Pure TypeScript: it opens no library and touches no memory. ggml aborts the process on a bad
 * shape, so every rule is checked here first. Shapes are in ggml `ne` order: dimension 0 is
 * contiguous.
 *
 * @module
 */
import {
  count,
  type DType,
  f32,
  fail,
  full,
  isVector,
  type Ne,
  sameShape,
  type Shaped,
  show,
} from "./shape.ts";
import { tile_len, tile_type, type TileType } from "./tile.ts";

export { type DType, type Ne, show };

/** Parameters of a rotary embedding, as `ggml_rope_ext` takes them. */
export interface RopeParams {
  /** Leading values of a head that are rotated. */
  n_dims: number;
  /** `normal` rotates neighbours, `neox` rotates value i with value i + n_dims / 2. */
  mode: "normal" | "neox";
  /** Context of the original training, for YaRN. */
  n_ctx_orig: number;
  freq_base: number;
  freq_scale: number;
  ext_factor: number;
  attn_factor: number;
  beta_fast: number;
  beta_slow: number;
}

/** Parameters of attention over the cache of one layer. */
export interface AttentionParams {
  /** Layer whose cache is written and read. */
  il: number;
  /** Factor on the scores before the soft max. */
  kq_scale: number;
}

/** The weights of a mixture of experts. */
export interface ExpertWeights {
  /** [n_embd, n_expert] */
  router: Tensor;
  /** [n_embd, n_ff, n_expert] */
  gate: Tensor;
  /** [n_embd, n_ff, n_expert] */
  up: Tensor;
  /** [n_ff, n_embd, n_expert] */
  down: Tensor;
}

/** One op with its parameters. */
export type Op =
  | { kind: "weight"; parts: readonly string[] }
  | { kind: "input"; name: string }
  | { kind: "get_rows" }
  | { kind: "mul_mat" }
  | { kind: "quantize" }
  | { kind: "quantize_rms_norm"; eps: number }
  | { kind: "quantize_swiglu" }
  | { kind: "mul_mat_packed" }
  | { kind: "get_rows_packed" }
  | { kind: "add" }
  | { kind: "mul" }
  | { kind: "rms_norm"; eps: number }
  | ({ kind: "rope" } & RopeParams)
  | ({ kind: "rope_table" } & RopeParams)
  | { kind: "swiglu_split" }
  | { kind: "swiglu" }
  | { kind: "moe"; n_expert_used: number }
  | { kind: "moe_packed"; n_expert_used: number }
  | { kind: "reshape" }
  | { kind: "slice"; first: number }
  | ({ kind: "attention" } & AttentionParams);

/** A value of the graph: the result of one op. */
export interface Tensor extends Shaped {
  /** Position in `Graph.nodes`. */
  readonly id: number;
  readonly op: Op;
  readonly type: DType;
  readonly ne: Ne;
  readonly src: readonly Tensor[];
}

/** What a graph may know of a weight before it is loaded. */
export interface WeightShape {
  type: DType;
  ne: Ne;
}

/** Finds a weight by its GGUF name; undefined when the file has none. */
export type WeightLookup = (name: string) => WeightShape | undefined;

/** Records ops in the order in which they are called. */
export class Graph {
  /** Every value so far, in order of creation. */
  readonly nodes: Tensor[] = [];
  readonly #lookup: WeightLookup;
  readonly #weights = new Map<string, Tensor>();

  constructor(lookup: WeightLookup) {
    this.#lookup = lookup;
  }

  /** The weight `name`. Throws ShapeError when the file has none. */
  weight(name: string): Tensor {
    return this.concat_weights([name]);
  }

  /** The weight `name`, or undefined when the file has none. */
  weight_if_present(name: string): Tensor | undefined {
    return this.#lookup(name) && this.weight(name);
  }

  /**
   * Several weights `[n_in, n_out_i, n]` of one type as one weight `[n_in, sum of n_out_i, n]`,
   * joined when they are loaded.
   */
  concat_weights(names: readonly string[]): Tensor {
    const key = names.join("\0");
    const known = this.#weights.get(key);
    if (known) return known;
    const parts = names.map((name) => {
      const part = this.#lookup(name);
      if (!part) fail("weight", `the model has no tensor "${name}"`);
      return part;
    });
    const [first] = parts;
    if (!first) fail("weight", "no name is given");
    let rows = 0;
    for (const { type, ne } of parts) {
      if (type !== first.type || ne[0] !== first.ne[0]) {
        fail("concat_weights", `the parts ${names.join(", ")} differ in type or row length`);
      }
      if (parts.length > 1 && (ne[2] !== first.ne[2] || ne[3] !== 1)) {
        fail("concat_weights", `the parts ${names.join(", ")} are not as many matrices each`);
      }
      rows += ne[1];
    }
    const ne: Ne = [first.ne[0], rows, first.ne[2], first.ne[3]];
    const tensor = this.#node({ kind: "weight", parts: [...names] }, first.type, ne, []);
    this.#weights.set(key, tensor);
    return tensor;
  }

  /** A value that is set before each computation. */
  input(name: string, type: DType, ...ne: number[]): Tensor {
    return this.#node({ kind: "input", name }, type, full(ne), []);
  }

  /**
   * Rows of a matrix by index.
   *
   * @param a [n, n_rows]
   * @param ids i32 [n_ids]
   * @returns f32 [n, n_ids]
   */
  get_rows(a: Tensor, ids: Tensor): Tensor {
    if (ids.type !== "i32") fail("get_rows", `the indices are ${ids.type}, expected i32`);
    if (a.ne[2] !== 1 || a.ne[3] !== 1 || !isVector(ids)) {
      fail(
        "get_rows",
        `cannot take rows ${show(ids)} of ${show(a)}, expected a matrix and a vector`,
      );
    }
    return this.#node({ kind: "get_rows" }, "f32", [a.ne[0], ids.ne[0], 1, 1], [a, ids]);
  }

  /**
   * Matrix product: each row of `a` with each row of `b`.
   *
   * @param a [k, n, 1, 1]
   * @param b f32 [k, m, 1, 1]
   * @returns f32 [n, m]
   */
  mul_mat(a: Tensor, b: Tensor): Tensor {
    if (a.ne[0] !== b.ne[0]) fail("mul_mat", `rows of ${show(a)} and ${show(b)} differ in length`);
    if (a.ne[2] !== 1 || a.ne[3] !== 1) fail("mul_mat", `${show(a)} is not a matrix`);
    if (b.type !== "f32") fail("mul_mat", `the second operand is ${b.type}, expected f32`);
    return this.#node({ kind: "mul_mat" }, "f32", [a.ne[1], b.ne[1], b.ne[2], b.ne[3]], [a, b]);
  }

  /**
   * Rows for `mul_mat_packed`: 8 bits a value, and what belongs to each block of 32; or floats.
   *
   * @param a f32 [k, m], k a multiple of 32
   * @param type what `tile_type` says of the weight; default `i8`
   * @returns i8 [7 / 4 k, m], or i32 [k, m]
   */
  quantize(a: Tensor, type: TileType = "i8"): Tensor {
    return this.#tiles({ kind: "quantize" }, a.ne[0], type, a);
  }

  /**
   * `quantize` of `rms_norm(a, eps)` times a weight.
   *
   * @param a f32 [k, m], k a multiple of 32
   * @param weight f32 [k]
   * @returns i8 [7 / 4 k, m], or i32 [k, m]
   */
  quantize_rms_norm(a: Tensor, weight: Tensor, eps: number, type: TileType = "i8"): Tensor {
    f32("quantize_rms_norm", weight);
    if (weight.ne[0] !== a.ne[0] || weight.ne[1] !== 1) {
      fail("quantize_rms_norm", `${show(weight)} is not a weight for each of ${show(a)}`);
    }
    return this.#tiles({ kind: "quantize_rms_norm", eps }, a.ne[0], type, a, weight);
  }

  /**
   * `quantize` of `swiglu(a)`.
   *
   * @param a f32 [2 k, m], k a multiple of 32
   * @returns i8 [7 / 4 k, m], or i32 [k, m]
   */
  quantize_swiglu(a: Tensor, type: TileType = "i8"): Tensor {
    return this.#tiles({ kind: "quantize_swiglu" }, a.ne[0] / 2, type, a);
  }

  #tiles(op: Op, k: number, type: TileType, a: Tensor, ...more: Tensor[]): Tensor {
    f32(op.kind, a);
    if (k % 32 !== 0 || a.ne[2] !== 1 || a.ne[3] !== 1) {
      fail(op.kind, `${show(a)} is not a matrix with rows of whole blocks of 32`);
    }
    return this.#node(op, type, [tile_len(k, type), a.ne[1], 1, 1], [a, ...more]);
  }

  /**
   * `mul_mat` of a weight that lies in panels with rows that lie in tiles, added to `added`.
   *
   * @param a [k, n], n a multiple of 16
   * @param b i8 [7 / 4 k, m] or i32 [k, m], as `tile_type` says, of `quantize` or one of its kin
   * @param added f32 [n, m]; default nothing
   * @returns f32 [n, m]
   */
  mul_mat_packed(a: Tensor, b: Tensor, added?: Tensor): Tensor {
    if (a.op.kind !== "weight" || a.ne[1] % 16 !== 0 || a.ne[2] !== 1 || a.ne[3] !== 1) {
      fail("mul_mat_packed", `${show(a)} is not a weight of whole panels of 16 rows`);
    }
    const type = tile_type(a.type);
    if (b.type !== type || b.ne[0] !== tile_len(a.ne[0], type)) {
      fail("mul_mat_packed", `${show(b)} are no tiles for ${show(a)}, expected ${type}`);
    }
    const ne: Ne = [a.ne[1], b.ne[1], 1, 1];
    if (added !== undefined && !(added.type === "f32" && ne.every((n, i) => n === added.ne[i]))) {
      fail("mul_mat_packed", `${show(added)} is not of the product's shape f32 [${ne.join(", ")}]`);
    }
    const src = added === undefined ? [a, b] : [a, b, added];
    return this.#node({ kind: "mul_mat_packed" }, "f32", ne, src);
  }

  /**
   * `get_rows` of a weight that lies in panels.
   *
   * @param a [k, n], n a multiple of 16
   * @param ids i32 [m]
   * @returns f32 [k, m]
   */
  get_rows_packed(a: Tensor, ids: Tensor): Tensor {
    if (a.op.kind !== "weight" || a.ne[1] % 16 !== 0 || a.ne[2] !== 1 || a.ne[3] !== 1) {
      fail("get_rows_packed", `${show(a)} is not a weight of whole panels of 16 rows`);
    }
    if (ids.type !== "i32" || ids.ne[1] !== 1 || ids.ne[2] !== 1 || ids.ne[3] !== 1) {
      fail("get_rows_packed", `${show(ids)} is no vector of i32`);
    }
    return this.#node({ kind: "get_rows_packed" }, "f32", [a.ne[0], ids.ne[0], 1, 1], [a, ids]);
  }

  /**
   * Sum; `b` is repeated along the dimensions where it has size 1. Both f32, the result has the
   * shape of `a`.
   */
  add(a: Tensor, b: Tensor): Tensor {
    return this.#binary("add", a, b);
  }

  /** Product by element; `b` is repeated along the dimensions where it has size 1. Both f32. */
  mul(a: Tensor, b: Tensor): Tensor {
    return this.#binary("mul", a, b);
  }

  /** x / sqrt(mean(x^2) + eps) for each row; f32, the shape of `a`. Zhang and Sennrich 2019. */
  rms_norm(a: Tensor, eps: number): Tensor {
    f32("rms_norm", a);
    if (!(eps >= 0)) fail("rms_norm", `eps is ${eps}, expected 0 or more`);
    return this.#node({ kind: "rms_norm", eps }, "f32", a.ne, [a]);
  }

  /**
   * Rotary position embedding. Su et al. 2021; YaRN by Peng et al. 2023.
   *
   * @param a f32 [n_embd_head, n_head, n_tokens]
   * @param pos i32 [n_tokens]
   * @param freq_factors f32 [n_dims / 2], divides the frequencies
   * @returns f32, the shape of `a`
   */
  rope(a: Tensor, pos: Tensor, params: RopeParams, freq_factors?: Tensor): Tensor {
    f32("rope", a);
    if (pos.ne[0] !== a.ne[2]) {
      fail("rope", `positions ${show(pos)} do not fit ${show(a)}, expected i32 [${a.ne[2]}]`);
    }
    if (params.n_dims > a.ne[0]) {
      fail("rope", `n_dims is ${params.n_dims}, expected an even number up to ${a.ne[0]}`);
    }
    const src = [a, ...ropeSources("rope", pos, params, freq_factors)];
    return this.#node({ kind: "rope", ...params }, "f32", a.ne, src);
  }

  /**
   * The cosines and sines that `rope` of these arguments turns each token with.
   *
   * @returns f32 [2 * n_dims, n_tokens]
   */
  rope_table(pos: Tensor, params: RopeParams, freq_factors?: Tensor): Tensor {
    const src = ropeSources("rope_table", pos, params, freq_factors);
    const ne: Ne = [2 * params.n_dims, pos.ne[0], 1, 1];
    return this.#node({ kind: "rope_table", ...params }, "f32", ne, src);
  }

  /** silu(gate) * up, by element; f32, both of one shape. Shazeer 2020. */
  swiglu_split(gate: Tensor, up: Tensor): Tensor {
    f32("swiglu_split", gate);
    f32("swiglu_split", up);
    if (!sameShape(gate, up)) {
      fail("swiglu_split", `${show(gate)} and ${show(up)} differ in shape`);
    }
    return this.#node({ kind: "swiglu_split" }, "f32", gate.ne, [gate, up]);
  }

  /**
   * silu(first half of a row) * second half.
   *
   * @param a f32 [2 * n, m]
   * @returns f32 [n, m]
   */
  swiglu(a: Tensor): Tensor {
    f32("swiglu", a);
    if (a.ne[0] % 2 !== 0) fail("swiglu", `rows of ${show(a)} are odd, expected two halves`);
    return this.#node({ kind: "swiglu" }, "f32", [a.ne[0] / 2, a.ne[1], a.ne[2], a.ne[3]], [a]);
  }

  /**
   * Mixture of experts: SwiGLU layers, of which each token goes through those `n_expert_used` whose
   * scores, its products with the router, are largest. What they give is added with the soft max of
   * these scores. Shazeer et al. 2017, as Jiang et al. 2024 weigh it.
   *
   * @param a f32 [n_embd, n_tokens]
   * @returns f32 [n_embd, n_tokens]
   */
  moe(a: Tensor, { router, gate, up, down }: ExpertWeights, n_expert_used: number): Tensor {
    this.#experts("moe", a, [router, gate, down], n_expert_used);
    if (!sameShape(gate, up) || gate.ne[1] !== down.ne[0]) {
      fail("moe", `${show(gate)}, ${show(up)} and ${show(down)} do not belong together`);
    }
    const src = [a, router, gate, up, down];
    return this.#node({ kind: "moe", n_expert_used }, "f32", a.ne, src);
  }

  /**
   * `moe` with weights that lie in panels, those of gate and up joined, added to `added`.
   *
   * @param a f32 [n_embd, n_tokens], n_embd a multiple of 32
   * @param router f32 [n_embd, n_expert]
   * @param gate_up [n_embd, 2 n_ff, n_expert]
   * @param down [n_ff, n_embd, n_expert]
   * @param added f32 [n_embd, n_tokens]; default nothing
   * @returns f32 [n_embd, n_tokens]
   */
  moe_packed(
    a: Tensor,
    { router, gate_up, down }: { router: Tensor; gate_up: Tensor; down: Tensor },
    n_expert_used: number,
    added?: Tensor,
  ): Tensor {
    this.#experts("moe_packed", a, [router, gate_up, down], n_expert_used);
    f32("moe_packed", router);
    if (gate_up.ne[1] !== 2 * down.ne[0]) {
      fail("moe_packed", `${show(gate_up)} and ${show(down)} do not belong together`);
    }
    if (added !== undefined && !(added.type === "f32" && sameShape(added, a))) {
      fail("moe_packed", `${show(added)} is not of the result's shape ${show(a)}`);
    }
    const src = [a, router, gate_up, down, ...added === undefined ? [] : [added]];
    return this.#node({ kind: "moe_packed", n_expert_used }, "f32", a.ne, src);
  }

  #experts(kind: string, a: Tensor, weights: [Tensor, Tensor, Tensor], n_used: number): void {
    f32(kind, a);
    const [router, wide, down] = weights;
    const [n_embd, n_expert] = router.ne;
    const fit = a.ne[2] === 1 && a.ne[3] === 1 && router.ne[2] === 1 && router.ne[3] === 1 &&
      [a.ne[0], wide.ne[0], down.ne[1]].every((n) => n === n_embd) &&
      [wide, down].every(({ ne }) => ne[2] === n_expert && ne[3] === 1);
    if (!fit || weights.some(({ op }) => op.kind !== "weight")) {
      fail(kind, `${[a, ...weights].map(show).join(", ")} do not belong together`);
    }
    if (!Number.isInteger(n_used) || n_used < 1 || n_used > n_expert) {
      fail(kind, `cannot choose ${n_used} of ${n_expert} experts`);
    }
  }

  /**
   * `n` values of every row, from `first` on, without copying them.
   *
   * @param a f32 [k, m]
   * @returns f32 [n, m]
   */
  slice(a: Tensor, first: number, n: number): Tensor {
    f32("slice", a);
    if (a.ne[2] !== 1 || a.ne[3] !== 1 || first + n > a.ne[0]) {
      fail("slice", `${show(a)} has no values ${first} to ${first + n} in a row`);
    }
    return this.#node({ kind: "slice", first }, "f32", [n, a.ne[1], 1, 1], [a]);
  }

  /** The same values in another shape. */
  reshape(a: Tensor, ...ne: number[]): Tensor {
    const shape = full(ne);
    if (count(shape) !== count(a.ne)) {
      fail("reshape", `${show(a)} does not have ${shape.join(" x ")} values`);
    }
    return this.#node({ kind: "reshape" }, a.type, shape, [a]);
  }

  /**
   * Writes `k` and `v` of the batch into the cache of layer `il`, then attends over what each token
   * may see. Heads of `q` share keys and values in groups (Ainslie et al. 2023).
   *
   * @param q f32 [n_embd_head, n_head, n_tokens]
   * @param k f32 [n_embd_head, n_head_kv, n_tokens]
   * @param v f32 [n_embd_head, n_head_kv, n_tokens]
   * @param table of `rope_table`, by which q and k are turned first
   * @returns f32 [n_embd_head * n_head, n_tokens]
   */
  attention(q: Tensor, k: Tensor, v: Tensor, params: AttentionParams, table?: Tensor): Tensor {
    for (const t of [q, k, v]) f32("attention", t);
    if (q.ne[0] !== k.ne[0] || q.ne[2] !== k.ne[2] || !sameShape(k, v)) {
      fail("attention", `q ${show(q)}, k ${show(k)} and v ${show(v)} do not belong together`);
    }
    if (q.ne[1] % k.ne[1] !== 0) {
      fail("attention", `${q.ne[1]} query heads cannot share ${k.ne[1]} key heads evenly`);
    }
    if (table && (table.op.kind !== "rope_table" || table.ne[1] !== q.ne[2])) {
      fail("attention", `${show(table)} is no table of ${q.ne[2]} tokens`);
    }
    const ne: Ne = [q.ne[0] * q.ne[1], q.ne[2], 1, 1];
    const src = table ? [q, k, v, table] : [q, k, v];
    return this.#node({ kind: "attention", ...params }, "f32", ne, src);
  }

  /** The op of `node`, which another graph recorded, with other sources of the same shapes. */
  copy(node: Tensor, src: readonly Tensor[]): Tensor {
    if (node.op.kind === "weight") return this.concat_weights(node.op.parts);
    return this.#node(node.op, node.type, node.ne, src);
  }

  #binary(kind: "add" | "mul", a: Tensor, b: Tensor): Tensor {
    f32(kind, a);
    f32(kind, b);
    if (!a.ne.every((n, i) => n === b.ne[i] || b.ne[i] === 1)) {
      fail(kind, `${show(b)} cannot be repeated to ${show(a)}`);
    }
    return this.#node({ kind }, "f32", a.ne, [a, b]);
  }

  #node(op: Op, type: DType, ne: Ne, src: readonly Tensor[]): Tensor {
    const node: Tensor = { id: this.nodes.length, op, type, ne, src };
    this.nodes.push(node);
    return node;
  }
}

function ropeSources(
  op: string,
  pos: Tensor,
  { n_dims }: RopeParams,
  freq_factors?: Tensor,
): Tensor[] {
  if (pos.type !== "i32" || !isVector(pos)) {
    fail(op, `positions ${show(pos)}, expected a vector of i32`);
  }
  if (!Number.isInteger(n_dims) || n_dims <= 0 || n_dims % 2 !== 0) {
    fail(op, `n_dims is ${n_dims}, expected an even number above 0`);
  }
  if (freq_factors && (freq_factors.type !== "f32" || freq_factors.ne[0] < n_dims / 2)) {
    fail(op, `frequency factors ${show(freq_factors)}, expected f32 [${n_dims / 2}]`);
  }
  return freq_factors ? [pos, freq_factors] : [pos];
}
