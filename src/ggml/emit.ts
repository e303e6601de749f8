/**
 * Emission: one lowered graph becomes ggml nodes, op by op.
 *
 * The only file that knows how an op of `graph/record.ts` is said in ggml. Shapes were checked when
 * the op was recorded; everything here may assume them.
 *
 * @module
 */
import type { Lowered } from "../graph/lower.ts";
import type { BatchShape } from "../graph/plan.ts";
import type { Op, Tensor } from "../graph/record.ts";
import type { Pointer } from "../runtime/ffi.ts";
import type { Library, Native } from "./library.ts";
import { type WeightUse, weightUse } from "./weights.ts";
import { GGML_PREC_F32, GGML_ROPE_TYPE_NEOX, GGML_ROPE_TYPE_NORMAL } from "./symbols.generated.ts";
import { type_id } from "./tensor.ts";

/** Types that the cache can have. */
export type CellType = "f16" | "f32" | "q8_0";

/** Cells of a block, as `sluice_attention()` takes them. */
export const BLOCK_CELLS = 64;

/** Keys and values of every layer, as `cache/kv_cache.ts` laid them out. */
export interface CacheLayers {
  /** [n_embd_head * n_head_kv, cells] for each layer, in blocks */
  readonly k: readonly Pointer[];
  readonly v: readonly Pointer[];
  readonly type: CellType;
}

/** What emission needs beside the graph. */
export interface EmitTarget {
  library: Library;
  /** Context that receives the tensors. */
  ctx: Pointer;
  /** ggml_cgraph that receives the nodes. */
  graph: Pointer;
  shape: BatchShape;
  cache: CacheLayers;
  /** Flash attention; false is the plain soft max of the reference mode. */
  flashAttention: boolean;
  /** The loaded weight joined from these parts, in a layout for that use. */
  weight: (parts: readonly string[], use: WeightUse) => Pointer;
}

/** The tensors that a plan writes and reads. */
export interface Emitted {
  /**
   * By input name. Attention adds `kv_rows`, and `kv_blocks` and `kv_seen`, or for ggml's own ops
   * `kv_cells` and `kq_mask`.
   */
  inputs: Map<string, Pointer>;
  /** The value that the plan gives back, or null when it only fills the cache. */
  output: Pointer;
}

/** Whether attention over cells of this type is our own kernel's; else ggml's. */
export function attends(
  { native }: Library,
  flashAttention: boolean,
  type: CellType,
  n_embd_head: number,
): boolean {
  return flashAttention && native.sluice_attends(type_id(type), n_embd_head) === 1;
}

/** Most ggml nodes and views that one lowered node becomes. */
export const NODES_PER_OP = 24;

/** Emits the whole graph. */
export function emit(lowered: Lowered, target: EmitTarget): Emitted {
  const emission = new Emission(target, nextWeights(lowered));
  for (const node of lowered.nodes) emission.emit(node);
  const output = lowered.output ? emission.value(lowered.output) : null;
  if (output !== null) {
    target.library.native.ggml_set_output(output);
    target.library.native.ggml_build_forward_expand(target.graph, output);
  }
  return { inputs: emission.inputs, output };
}

/** For each product with panels, the weight of the next one: nodes are computed in their order. */
function nextWeights({ nodes }: Lowered): Map<Tensor, Tensor> {
  const products = nodes.filter(({ op }) => op.kind === "mul_mat_packed");
  return new Map(products.slice(1).map(({ src }, i) => [products[i]!, src[0]!]));
}

type Node<K extends Op["kind"]> = Tensor & { readonly op: Extract<Op, { kind: K }> };

class Emission {
  readonly inputs = new Map<string, Pointer>();
  readonly #t: EmitTarget & { native: Native };
  readonly #values = new Map<Tensor, Pointer>();
  readonly #nextWeights: ReadonlyMap<Tensor, Tensor>;

  constructor(target: EmitTarget, nextWeights: ReadonlyMap<Tensor, Tensor>) {
    this.#nextWeights = nextWeights;
    this.#t = { ...target, native: target.library.native };
  }

  value(t: Tensor): Pointer {
    return this.#values.get(t) ?? null;
  }

  emit(node: Tensor): void {
    this.#values.set(node, this.#emit(node));
  }

  #emit(node: Tensor): Pointer {
    const { native: n, ctx } = this.#t;
    const sources = node.src.map((s, i) => this.#source(node, s, i));
    const [a, b, c] = sources as [Pointer, Pointer, Pointer];
    const { op, ne } = node;
    const type = type_id(node.type);
    switch (op.kind) {
      case "weight":
        return null; // its readers say in which layout
      case "input":
        return this.#input(op.name, type, ne[0], ne[1], ne[2], ne[3]);
      case "get_rows":
        return n.ggml_get_rows(ctx, a, b);
      case "mul_mat":
        return n.ggml_mul_mat(ctx, a, b);
      case "quantize":
        return this.#t.library.handle(n.sluice_quantize(ctx, a, type), "quantize values");
      case "quantize_rms_norm": {
        const tiles = n.sluice_quantize_rms_norm(ctx, a, b, op.eps, type);
        return this.#t.library.handle(tiles, "norm and quantize values");
      }
      case "quantize_swiglu":
        return this.#t.library.handle(n.sluice_quantize_swiglu(ctx, a, type), "quantize SwiGLU");
      case "mul_mat_packed": {
        const then = this.#nextWeights.get(node);
        const next = then === undefined ? null : this.#source(node, then, 0);
        const product = n.sluice_multiply(ctx, a, b, c ?? null, next);
        return this.#t.library.handle(product, "multiply panels");
      }
      case "get_rows_packed":
        return this.#t.library.handle(n.sluice_get_rows(ctx, a, b), "read rows of panels");
      case "add":
        return n.ggml_add(ctx, a, b);
      case "mul":
        return n.ggml_mul(ctx, a, b);
      case "rms_norm":
        return n.ggml_rms_norm(ctx, a, op.eps);
      case "rope":
        return this.#rope(op, a, b, c ?? null);
      case "rope_table":
        return this.#ropeTable(op, a, b ?? null);
      case "swiglu_split":
        return n.ggml_swiglu_split(ctx, a, b);
      case "swiglu":
        return n.ggml_swiglu(ctx, a);
      case "moe":
        return this.#moe(node as Node<"moe">, sources);
      case "moe_packed": {
        const [x, router, gate_up, down, added = null] = sources as Pointer[];
        const out = n.sluice_experts(ctx, x!, router!, gate_up!, down!, op.n_expert_used, added);
        return this.#t.library.handle(out, "go through experts");
      }
      case "reshape":
        return this.#reshape(node as Node<"reshape">, a);
      case "slice": {
        const row = 4 * node.src[0]!.ne[0];
        return n.ggml_view_2d(ctx, a, big(ne[0]), big(ne[1]), big(row), big(4 * op.first));
      }
      case "attention":
        return this.#attention(node as Node<"attention">, sources);
    }
  }

  /** What `node` reads as its source `i`. */
  #source(node: Tensor, source: Tensor, i: number): Pointer {
    const { op } = source;
    if (op.kind !== "weight") return this.value(source);
    return this.#t.weight(op.parts, weightUse(node.op, i));
  }

  #input(name: string, type: number, ...ne: [number, number, number, number]): Pointer {
    const known = this.inputs.get(name);
    if (known !== undefined) return known;
    const { native: n, ctx } = this.#t;
    const [n0, n1, n2, n3] = ne;
    const tensor = n.ggml_new_tensor_4d(ctx, type, big(n0), big(n1), big(n2), big(n3));
    n.ggml_set_input(tensor);
    this.inputs.set(name, tensor);
    return tensor;
  }

  /** A mixture of experts by ggml's own ops, for weights that are not in panels. */
  #moe({ op, src }: Node<"moe">, sources: readonly Pointer[]): Pointer {
    const { native: n, ctx } = this.#t;
    const [a, router, gate, up, down] = sources as [Pointer, Pointer, Pointer, Pointer, Pointer];
    const [n_embd, n_tokens] = [big(src[0]!.ne[0]), big(src[0]!.ne[1])];
    const [n_expert, n_used] = [big(src[1]!.ne[1]), big(op.n_expert_used)];
    const dense = src[0]!.op.kind === "slice" ? n.ggml_cont(ctx, a) : a;
    const scores = n.ggml_mul_mat(ctx, router, dense); // [n_expert, n_tokens]
    // Their soft max is sorted, because it is NaN for all or for none: ggml's sort may leave its
    // row where only some values are.
    const probs = n.ggml_soft_max_ext(ctx, scores, null, 1, 0);
    const ids = n.ggml_argsort_top_k(ctx, probs, op.n_expert_used); // i32 [n_used, n_tokens]
    const each = n.ggml_reshape_3d(ctx, scores, 1n, n_expert, n_tokens);
    const chosen = n.ggml_reshape_2d(ctx, n.ggml_get_rows(ctx, each, ids), n_used, n_tokens);
    const weights = n.ggml_soft_max_ext(ctx, chosen, null, 1, 0);

    const x = n.ggml_reshape_3d(ctx, dense, n_embd, 1n, n_tokens);
    const hidden = n.ggml_swiglu_split(
      ctx,
      n.ggml_mul_mat_id(ctx, gate, x, ids),
      n.ggml_mul_mat_id(ctx, up, x, ids),
    ); // [n_ff, n_used, n_tokens]
    const out = n.ggml_mul_mat_id(ctx, down, hidden, ids); // [n_embd, n_used, n_tokens]
    const by_expert = n.ggml_cont(ctx, n.ggml_permute(ctx, out, 1, 0, 2, 3));
    const parts = n.ggml_reshape_3d(ctx, weights, n_used, 1n, n_tokens);
    return n.ggml_reshape_2d(ctx, n.ggml_mul_mat(ctx, by_expert, parts), n_embd, n_tokens);
  }

  /** Rows of a slice lie apart, so their values cannot become one run: each row is split. */
  #reshape({ ne, src }: Node<"reshape">, a: Pointer): Pointer {
    const { native: n, ctx } = this.#t;
    const [n0, n1, n2, n3] = ne.map(big) as [bigint, bigint, bigint, bigint];
    const slice = src[0]!;
    if (slice.op.kind !== "slice") return n.ggml_reshape_4d(ctx, a, n0, n1, n2, n3);
    if (ne[0] * ne[1] === slice.ne[0] && ne[3] === 1) {
      const row = big(4 * slice.src[0]!.ne[0]);
      return n.ggml_view_3d(ctx, a, n0, n1, n2, 4n * n0, row, 0n);
    }
    return n.ggml_reshape_4d(ctx, n.ggml_cont(ctx, a), n0, n1, n2, n3);
  }

  #rope(op: Node<"rope">["op"], a: Pointer, pos: Pointer, freq_factors: Pointer): Pointer {
    return this.#t.native.ggml_rope_ext(
      this.#t.ctx,
      a,
      pos,
      freq_factors,
      op.n_dims,
      op.mode === "neox" ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL,
      op.n_ctx_orig,
      op.freq_base,
      op.freq_scale,
      op.ext_factor,
      op.attn_factor,
      op.beta_fast,
      op.beta_slow,
    );
  }

  #ropeTable(op: Node<"rope_table">["op"], pos: Pointer, freq_factors: Pointer): Pointer {
    const table = this.#t.native.sluice_rope_table(
      this.#t.ctx,
      pos,
      freq_factors,
      op.n_dims,
      op.mode === "neox" ? 1 : 0,
      op.n_ctx_orig,
      op.freq_base,
      op.freq_scale,
      op.ext_factor,
      op.attn_factor,
      op.beta_fast,
      op.beta_slow,
    );
    return this.#t.library.handle(table, "make a table of sines");
  }

  /** Writes the cells of the batch and gives the queries to attend with. */
  #fillCache(node: Node<"attention">, [q, k, v, table]: Pointer[]): Pointer {
    const { library, native: n, ctx, graph, cache } = this.#t;
    const [tq, tk, tv] = node.src as [Tensor, Tensor, Tensor];
    const [n_embd_head, n_head, n_tokens] = tq.ne;
    const [k_cells, v_cells] = [cache.k[node.op.il]!, cache.v[node.op.il]!];
    const kv_rows = this.#input("kv_rows", type_id("i64"), n_tokens, 1, 1, 1);
    if (table) {
      const turned = library.handle(
        n.sluice_rope_cache(ctx, q!, k!, v!, table, k_cells, v_cells, kv_rows),
        "turn queries and fill the cache",
      );
      // The cache is filled even where nobody wants what attention gives.
      n.ggml_build_forward_expand(graph, turned);
      return n.ggml_reshape_3d(ctx, turned, big(n_embd_head), big(n_head), big(n_tokens));
    }
    // Nothing else ties the reading of the cache to this write, so it comes first.
    n.ggml_build_forward_expand(graph, q!);
    const n_embd_kv = n_embd_head * tk.ne[1];
    for (const [cells, rows, t] of [[k_cells, k!, tk], [v_cells, v!, tv]] as const) {
      const row = big(4 * rowLength(t));
      const flat = n.ggml_view_2d(ctx, rows, big(n_embd_kv), big(n_tokens), row, 0n);
      n.ggml_build_forward_expand(graph, n.ggml_set_rows(ctx, cells, flat, kv_rows));
    }
    return rowLength(tq) === n_embd_head * n_head ? q! : n.ggml_cont(ctx, q!);
  }

  /** Writes the cells of the batch, then attends over the blocks of each sequence. */
  #attention(node: Node<"attention">, sources: Pointer[]): Pointer {
    const { native: n, ctx, cache, shape } = this.#t;
    const { il, kq_scale } = node.op;
    const [n_embd_head, , n_tokens] = node.src[0]!.ne;
    const q = this.#fillCache(node, sources);

    if (attends(this.#t.library, this.#t.flashAttention, cache.type, n_embd_head)) {
      const i32 = type_id("i32");
      const blocks = this.#input("kv_blocks", i32, shape.n_blocks, shape.n_streams, 1, 1);
      const seen = this.#input("kv_seen", i32, n_tokens, 1, 1, 1);
      const out = n.sluice_attention(
        ctx,
        q,
        cache.k[il]!,
        cache.v[il]!,
        blocks,
        seen,
        kq_scale,
      );
      return this.#t.library.handle(out, "attend over the cache");
    }
    n.ggml_build_forward_expand(this.#t.graph, q);
    return this.#attendByGgml(node, q);
  }

  /** Attention by ggml's own ops, for what our kernel does not take: over a copy of the cells. */
  #attendByGgml({ op, src }: Node<"attention">, q: Pointer): Pointer {
    const { native: n, ctx, cache, shape } = this.#t;
    const { il, kq_scale } = op;
    const [[n_embd_head, n_head, n_tokens], n_head_kv] = [src[0]!.ne, src[1]!.ne[1]];
    const { n_streams } = shape;
    const per_stream = n_tokens / n_streams;
    const n_kv = shape.n_blocks * BLOCK_CELLS;
    const kv_cells = this.#input("kv_cells", type_id("i32"), n_kv * n_streams, 1, 1, 1);
    const kq_mask = this.#input("kq_mask", type_id("f16"), n_kv, per_stream, 1, n_streams);
    // ggml splits the keys of a single query by thread from 512 cells on, so that the number of
    // threads decides the sums. It leaves several streams alone: each key head becomes one, and
    // where there is but one key head the plain soft max is computed.
    const flash = this.#t.flashAttention && (n_tokens > 1 || n_head_kv > 1);
    const groups = flash && n_tokens === 1 ? n_head_kv : 1;
    const [K, V] = [cache.k[il]!, cache.v[il]!].map((cells) =>
      this.#heads(n.ggml_get_rows(ctx, cells, kv_cells), n_embd_head, n_head_kv, n_kv, groups)
    ) as [Pointer, Pointer]; // [n_embd_head, n_kv, n_head_kv / groups, n_streams * groups]
    const Q = this.#heads(q, n_embd_head, n_head, per_stream, groups);
    if (flash) {
      const out = n.ggml_flash_attn_ext(ctx, Q, K, V, kq_mask, kq_scale, 0, 0);
      n.ggml_prec_set_acc(out, GGML_PREC_F32);
      return n.ggml_reshape_2d(ctx, out, big(n_embd_head * n_head), big(n_tokens));
    }
    const kq = n.ggml_mul_mat(ctx, K, Q); // [n_kv, per_stream, n_head, n_streams]
    n.ggml_prec_set_acc(kq, GGML_PREC_F32);
    const weights = n.ggml_soft_max_ext(ctx, kq, kq_mask, kq_scale, 0);
    const Vt = n.ggml_cont(ctx, n.ggml_permute(ctx, V, 1, 0, 2, 3));
    const out = n.ggml_permute(ctx, n.ggml_mul_mat(ctx, Vt, weights), 0, 2, 1, 3);
    return n.ggml_cont_2d(ctx, out, big(n_embd_head * n_head), big(n_tokens));
  }

  /**
   * Heads of dense f32 rows, `n_rows` of each sequence: [n_embd_head, n_rows, n_head / groups,
   * n_streams * groups], permuted view. There is one group, or one for each key head, and then one
   * sequence.
   */
  #heads(
    rows: Pointer,
    n_embd_head: number,
    n_head: number,
    n_rows: number,
    groups: number,
  ): Pointer {
    const { native: n, ctx, shape } = this.#t;
    const head = 4 * n_embd_head;
    const n_heads = n_head / groups;
    const view = n.ggml_view_4d(
      ctx,
      rows,
      big(n_embd_head),
      big(n_heads),
      big(n_rows),
      big(shape.n_streams * groups),
      big(head),
      big(head * n_head),
      big(groups > 1 ? head * n_heads : head * n_head * n_rows),
      0n,
    );
    return n.ggml_permute(ctx, view, 0, 2, 1, 3);
  }
}

/** Floats from one token of `t` [n_embd_head, n_head, n_tokens] to the next. */
function rowLength({ op, src, ne }: Tensor): number {
  const from = src[0];
  return op.kind === "reshape" && from?.op.kind === "slice" ? from.src[0]!.ne[0] : ne[0] * ne[1];
}

const big = BigInt;
