/**
 * Mixtrals of some thousand random weights: the same bytes on every machine, so that golden figures
 * belong to them.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { f32, type GgufTensor, str, strings, u32, writeGguf } from "./gguf_writer.ts";

/** What such a model is; `name` is the seed of its weights. */
export interface TinyMixtral {
  name: string;
  n_layer: number;
  n_embd: number;
  n_ff: number;
}

/** The one that the golden figures are of. */
export const GOLDEN: TinyMixtral = { name: "llama-moe", n_layer: 3, n_embd: 64, n_ff: 64 };

const N_VOCAB = 512;
const N_HEAD = 4;
const N_HEAD_KV = 2;
const N_EXPERT = 4;

/** Bytes of the file, with f32 weights. Its vocabulary has no words. */
export function tinyMixtral({ name, n_layer, n_embd, n_ff }: TinyMixtral): Uint8Array {
  const n_embd_head = n_embd / N_HEAD;
  const metadata = [
    ["general.architecture", str("llama")],
    ["llama.vocab_size", u32(N_VOCAB)],
    ["llama.context_length", u32(2048)],
    ["llama.embedding_length", u32(n_embd)],
    ["llama.block_count", u32(n_layer)],
    ["llama.feed_forward_length", u32(n_ff)],
    ["llama.attention.head_count", u32(N_HEAD)],
    ["llama.attention.head_count_kv", u32(N_HEAD_KV)],
    ["llama.attention.layer_norm_rms_epsilon", f32(1e-5)],
    ["llama.rope.freq_base", f32(10_000)],
    ["llama.rope.dimension_count", u32(n_embd_head)],
    ["llama.expert_count", u32(N_EXPERT)],
    ["llama.expert_used_count", u32(2)],
    ["tokenizer.ggml.tokens", strings(Array.from({ length: N_VOCAB }, (_, id) => `<${id}>`))],
  ] as const;

  const tensors: GgufTensor[] = [];
  const uniform = (tensor: string, ne: number[], amplitude: number, middle = 0): void => {
    const count = ne.reduce((product, n) => product * n, 1);
    const drawn = noise(`tiny-v1/${name}/${tensor}`, count);
    const step = amplitude / 32768;
    const values = Float32Array.from(drawn, (i) => middle + (i + 0.5) * step);
    tensors.push({ name: tensor, ne, data: new Uint8Array(values.buffer) });
  };
  const norm = (tensor: string): void => uniform(`${tensor}.weight`, [n_embd], 0.3, 1);
  const weight = (tensor: string, gain: number, ...ne: number[]): void =>
    uniform(`${tensor}.weight`, ne, gain * Math.sqrt(3 / ne[0]!));

  uniform("token_embd.weight", [n_embd, N_VOCAB], Math.sqrt(3));
  norm("output_norm");
  weight("output", 3, n_embd, N_VOCAB);
  for (let il = 0; il < n_layer; il++) {
    const blk = `blk.${il}`;
    norm(`${blk}.attn_norm`);
    weight(`${blk}.attn_q`, 1.6, n_embd, n_embd);
    weight(`${blk}.attn_k`, 1.6, n_embd, n_embd_head * N_HEAD_KV);
    weight(`${blk}.attn_v`, 1.6, n_embd, n_embd_head * N_HEAD_KV);
    weight(`${blk}.attn_output`, 1, n_embd, n_embd);
    norm(`${blk}.ffn_norm`);
    weight(`${blk}.ffn_gate_inp`, 2.5, n_embd, N_EXPERT);
    weight(`${blk}.ffn_gate_exps`, 1.5, n_embd, n_ff, N_EXPERT);
    weight(`${blk}.ffn_up_exps`, 1.5, n_embd, n_ff, N_EXPERT);
    weight(`${blk}.ffn_down_exps`, 1.5, n_ff, n_embd, N_EXPERT);
  }
  return writeGguf({ metadata, tensors }).bytes;
}

/** SHAKE-256 of a text, as whole numbers of 16 bits with a sign. */
function noise(seed: string, count: number): Int16Array {
  const digest = createHash("shake256", { outputLength: 2 * count }).update(seed).digest();
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  return Int16Array.from({ length: count }, (_, i) => view.getInt16(2 * i, true));
}
