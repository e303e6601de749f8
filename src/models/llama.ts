/**
 * The llama architecture: Llama 1 to 3, SmolLM2, Mistral, Mixtral and what else was published under
 * that name.
 *
 * Touvron et al. 2023, with grouped-query attention, tied or separate output, biases and RoPE
 * scaling as the file has them, and experts in place of the feed-forward layers where the file has
 * some (Jiang et al. 2024).
 *
 * @module
 */
import { ModelError } from "../errors.ts";
import type { Graph, RopeParams, Tensor } from "../graph/record.ts";
import type { Architecture, BatchInputs, ExpectedTensor, Hparams, Metadata } from "./model.ts";

function hparams(m: Metadata, n_vocab: number): Hparams {
  const n_expert = m.u32("llama.expert_count", 0);
  const n_expert_used = n_expert > 0 ? m.u32("llama.expert_used_count") : 0;
  if (n_expert > 0 && (n_expert_used < 1 || n_expert_used > n_expert)) {
    throw new ModelError(
      `Cannot load the model: it uses ${n_expert_used} of ${n_expert} experts, expected 1 to all`,
    );
  }
  const n_embd = m.u32("llama.embedding_length");
  const n_head = m.u32("llama.attention.head_count");
  const n_embd_head = m.u32("llama.attention.key_length", n_embd / n_head);
  return {
    n_vocab,
    n_ctx_train: m.u32("llama.context_length"),
    n_embd,
    n_layer: m.u32("llama.block_count"),
    n_head,
    n_head_kv: m.u32("llama.attention.head_count_kv", n_head),
    n_embd_head,
    n_ff: m.u32("llama.feed_forward_length"),
    n_expert,
    n_expert_used,
    rms_norm_eps: m.f32("llama.attention.layer_norm_rms_epsilon"),
    rope: rope(m, m.u32("llama.rope.dimension_count", n_embd_head)),
  };
}

function rope(m: Metadata, n_dims: number): RopeParams {
  const scaling = m.str("llama.rope.scaling.type", "linear");
  if (scaling !== "none" && scaling !== "linear" && scaling !== "yarn") {
    throw new ModelError(
      `Cannot load the model: its RoPE scaling is "${scaling}", expected none, linear or yarn`,
    );
  }
  const factor = m.f32("llama.rope.scaling.factor", m.f32("llama.rope.scale_linear", 0)) || 1;
  return {
    n_dims,
    mode: "normal",
    n_ctx_orig: m.u32(
      "llama.rope.scaling.original_context_length",
      m.u32("llama.context_length"),
    ),
    freq_base: m.f32("llama.rope.freq_base", 10_000),
    freq_scale: scaling === "none" ? 1 : 1 / factor,
    ext_factor: m.f32("llama.rope.scaling.yarn_ext_factor", scaling === "yarn" ? 1 : 0),
    attn_factor: m.f32("llama.rope.scaling.attn_factor", 1),
    beta_fast: m.f32("llama.rope.scaling.yarn_beta_fast", 32),
    beta_slow: m.f32("llama.rope.scaling.yarn_beta_slow", 1),
  };
}

function tensors(hp: Hparams): ExpectedTensor[] {
  const { n_embd, n_ff, n_vocab, n_embd_head } = hp;
  const n_embd_q = n_embd_head * hp.n_head;
  const n_embd_kv = n_embd_head * hp.n_head_kv;
  const list: ExpectedTensor[] = [
    { name: "token_embd.weight", ne: [n_embd, n_vocab] },
    { name: "output_norm.weight", ne: [n_embd] },
    { name: "output.weight", ne: [n_embd, n_vocab], optional: true },
    { name: "rope_freqs.weight", ne: [hp.rope.n_dims / 2], optional: true },
  ];
  for (let il = 0; il < hp.n_layer; il++) {
    const matrix = (name: string, n_in: number, n_out: number): void => {
      list.push({ name: `blk.${il}.${name}.weight`, ne: [n_in, n_out] });
      list.push({ name: `blk.${il}.${name}.bias`, ne: [n_out], optional: true });
    };
    list.push({ name: `blk.${il}.attn_norm.weight`, ne: [n_embd] });
    matrix("attn_q", n_embd, n_embd_q);
    matrix("attn_k", n_embd, n_embd_kv);
    matrix("attn_v", n_embd, n_embd_kv);
    matrix("attn_output", n_embd_q, n_embd);
    list.push({ name: `blk.${il}.ffn_norm.weight`, ne: [n_embd] });
    if (hp.n_expert === 0) {
      matrix("ffn_gate", n_embd, n_ff);
      matrix("ffn_up", n_embd, n_ff);
      matrix("ffn_down", n_ff, n_embd);
      continue;
    }
    const experts = (name: string, ...ne: number[]): void => {
      list.push({ name: `blk.${il}.${name}.weight`, ne: [...ne, hp.n_expert] });
    };
    experts("ffn_gate_inp", n_embd);
    experts("ffn_gate_exps", n_embd, n_ff);
    experts("ffn_up_exps", n_embd, n_ff);
    experts("ffn_down_exps", n_ff, n_embd);
  }
  return list;
}

function graph(g: Graph, hp: Hparams, { tokens, pos, out_rows }: BatchInputs): Tensor {
  const { n_embd_head, n_head, n_head_kv, rms_norm_eps } = hp;
  const [n_tokens] = tokens.ne;
  const norm = (x: Tensor, name: string): Tensor =>
    g.mul(g.rms_norm(x, rms_norm_eps), g.weight(`${name}.weight`));
  const linear = (x: Tensor, name: string): Tensor => {
    const product = g.mul_mat(g.weight(`${name}.weight`), x);
    const bias = g.weight_if_present(`${name}.bias`);
    return bias ? g.add(product, bias) : product;
  };
  const feed_forward = (x: Tensor, blk: string): Tensor => {
    if (hp.n_expert > 0) return experts(g, hp, x, blk);
    const gate = linear(x, `${blk}.ffn_gate`); // [n_ff, n_outputs]
    return linear(g.swiglu_split(gate, linear(x, `${blk}.ffn_up`)), `${blk}.ffn_down`);
  };
  const freq_factors = g.weight_if_present("rope_freqs.weight");

  const token_embd = g.weight("token_embd.weight"); // [n_embd, n_vocab]
  let x = g.get_rows(token_embd, tokens); // [n_embd, n_tokens]
  for (let il = 0; il < hp.n_layer; il++) {
    const blk = `blk.${il}`;
    const attn_in = norm(x, `${blk}.attn_norm`);
    const q = g.reshape(linear(attn_in, `${blk}.attn_q`), n_embd_head, n_head, n_tokens);
    const k = g.reshape(linear(attn_in, `${blk}.attn_k`), n_embd_head, n_head_kv, n_tokens);
    const v = g.reshape(linear(attn_in, `${blk}.attn_v`), n_embd_head, n_head_kv, n_tokens);
    let attn = g.attention(
      g.rope(q, pos, hp.rope, freq_factors),
      g.rope(k, pos, hp.rope, freq_factors),
      v,
      { il, kq_scale: 1 / Math.sqrt(n_embd_head) },
    ); // [n_embd_head * n_head, n_tokens]
    if (il === hp.n_layer - 1 && out_rows) {
      attn = g.get_rows(attn, out_rows); // [n_embd_head * n_head, n_outputs]
      x = g.get_rows(x, out_rows); // [n_embd, n_outputs]
    }
    const h = g.add(linear(attn, `${blk}.attn_output`), x);
    x = g.add(feed_forward(norm(h, `${blk}.ffn_norm`), blk), h);
  }
  const output = g.weight_if_present("output.weight") ?? token_embd;
  return g.mul_mat(output, norm(x, "output_norm")); // [n_vocab, n_outputs]
}

function experts(g: Graph, { n_expert_used }: Hparams, x: Tensor, blk: string): Tensor {
  const weight = (name: string): Tensor => g.weight(`${blk}.${name}.weight`);
  const weights = {
    router: weight("ffn_gate_inp"),
    gate: weight("ffn_gate_exps"),
    up: weight("ffn_up_exps"),
    down: weight("ffn_down_exps"),
  };
  return g.moe(x, weights, n_expert_used);
}

/** The row of this architecture. */
export const llama: Architecture = { name: "llama", hparams, tensors, graph };
