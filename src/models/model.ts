/**
 * What an architecture is: hyperparameters out of the metadata, the tensors that it expects, and
 * its graph.
 *
 * The dimension words are those of GGUF and llama.cpp. Knows the graph recorder and nothing below
 * it.
 *
 * @module
 */
import type { Graph, RopeParams, Tensor } from "../graph/record.ts";

/** Typed access to a model's metadata; a missing or ill-typed key throws an error that names it. */
export interface Metadata {
  /** Unsigned integer; `fallback` when the key is absent. */
  u32(key: string, fallback?: number): number;
  f32(key: string, fallback?: number): number;
  str(key: string, fallback?: string): string;
  has(key: string): boolean;
}

/** Dimension words shared by all decoder architectures. */
export interface Hparams {
  n_vocab: number;
  /** Longest context of the training. */
  n_ctx_train: number;
  /** Width of the residual stream. */
  n_embd: number;
  n_layer: number;
  /** Query heads. */
  n_head: number;
  /** Key and value heads; divides n_head. */
  n_head_kv: number;
  /** Values of one head. */
  n_embd_head: number;
  /** Width of the feed-forward layer, or of each expert. */
  n_ff: number;
  /** Experts of a layer; 0 where layers are dense. */
  n_expert: number;
  /** Experts that a token goes through. */
  n_expert_used: number;
  rms_norm_eps: number;
  rope: RopeParams;
}

/** A tensor that a model file must or may hold. */
export interface ExpectedTensor {
  name: string;
  /** Sizes without trailing ones. */
  ne: readonly number[];
  optional?: boolean;
}

/** What is set before each computation. */
export interface BatchInputs {
  /** i32 [n_tokens] */
  tokens: Tensor;
  /** i32 [n_tokens] */
  pos: Tensor;
  /** i32 [n_outputs]: the tokens whose logits are wanted; absent when all are. */
  out_rows?: Tensor;
}

/** One architecture; `models/mod.ts` has a row for each. */
export interface Architecture {
  /** Value of `general.architecture`. */
  readonly name: string;
  /** Reads the hyperparameters. `n_vocab` is the number of tokens in the file's vocabulary. */
  hparams(metadata: Metadata, n_vocab: number): Hparams;
  /** Every tensor that the graph reads, with its shape. */
  tensors(hparams: Hparams): ExpectedTensor[];
  /** Records the graph and returns the logits, f32 [n_vocab, n_outputs]. */
  graph(g: Graph, hparams: Hparams, inputs: BatchInputs): Tensor;
}
