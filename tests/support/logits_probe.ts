/**
 * LogitsProbe: a model's logits at every position, through the same weights, plans and cache that
 * the core uses.
 *
 * @module
 */
import { KvCache } from "../../src/cache/kv_cache.ts";
import { weightLookup } from "../../src/core/tensors.ts";
import { Backend, Plan } from "../../src/ggml/backend.ts";
import type { CellType } from "../../src/ggml/emit.ts";
import { attends } from "../../src/ggml/emit.ts";
import { Library } from "../../src/ggml/library.ts";
import { packsOf, Weights } from "../../src/ggml/weights.ts";
import { readGguf } from "../../src/gguf/reader.ts";
import { cpuRewrites } from "../../src/graph/lower.ts";
import { type BatchShape, planGraph } from "../../src/graph/plan.ts";
import type { Hparams } from "../../src/models/model.ts";
import { architecture } from "../../src/models/mod.ts";

/** Which paths compute. */
export interface ProbeOptions {
  n_threads: number;
  fused: boolean;
  flashAttention: boolean;
  repack: boolean;
  cacheType: CellType;
  /** Folder that keeps packed weights. Default none. */
  packedDir?: string;
}

/** The graph as it was recorded, in f32 where the file allows it. */
export const REFERENCE: ProbeOptions = {
  n_threads: 1,
  fused: false,
  flashAttention: false,
  repack: false,
  cacheType: "f32",
};

/** What the core does by default. */
export const DEFAULT: ProbeOptions = {
  n_threads: 2,
  fused: true,
  flashAttention: true,
  repack: true,
  cacheType: "f16",
};

/** See the module. */
export class LogitsProbe implements Disposable {
  readonly hparams: Hparams;
  readonly library: Library;
  readonly cache: KvCache;
  /** Makes a plan, which the caller disposes. */
  readonly plan: (shape: BatchShape) => Plan;
  readonly #resources: DisposableStack;
  readonly #blocks: number[] = [];

  private constructor(
    hparams: Hparams,
    library: Library,
    cache: KvCache,
    plan: (shape: BatchShape) => Plan,
    resources: DisposableStack,
  ) {
    this.hparams = hparams;
    this.library = library;
    this.cache = cache;
    this.plan = plan;
    this.#resources = resources;
  }

  /** A model with a cache for `n_streams` sequences of 512 tokens. */
  static async open(path: string, options: ProbeOptions, n_streams = 1): Promise<LogitsProbe> {
    using resources = new DisposableStack();
    const gguf = readGguf(path);
    const arch = architecture(gguf.metadata.str("general.architecture"));
    const hp = arch.hparams(gguf.metadata, gguf.metadata.strings("tokenizer.ggml.tokens").length);
    const library = resources.use(await Library.open());
    const backend = resources.use(new Backend(library, options.n_threads));
    const lookup = weightLookup(gguf);
    const { flashAttention, cacheType } = options;
    const own = attends(library, flashAttention, cacheType, hp.n_embd_head);
    const rewrites = options.fused ? cpuRewrites(packsOf(library, options), own) : [];
    const lowered = (shape: BatchShape) =>
      planGraph((g, i) => arch.graph(g, hp, i), shape, lookup, rewrites);
    const one = { n_tokens: 1, n_streams: 1, n_blocks: 1, n_outputs: 1 };
    const weights = resources.use(Weights.load(library, gguf, lowered(one), options));
    const cache = resources.use(
      new KvCache(library, {
        n_layer: hp.n_layer,
        n_embd_kv: hp.n_embd_head * hp.n_head_kv,
        n_ctx: 512,
        n_streams,
        type: cacheType,
      }),
    );
    const plan = (shape: BatchShape) =>
      new Plan(backend, lowered(shape), shape, { weights, cache, flashAttention });
    return new LogitsProbe(hp, library, cache, plan, resources.move());
  }

  /** Logits of every one of `tokens` behind `n_past` earlier ones, a row each. */
  logits(tokens: readonly number[], n_past = 0): Float32Array[] {
    const n = tokens.length;
    const spans = [{ blocks: this.#blocks, n_past, n_tokens: n }];
    const n_blocks = this.cache.reserve(spans);
    using plan = this.plan({ n_tokens: n, n_streams: 1, n_blocks, n_outputs: n });
    plan.set("tokens", Int32Array.from(tokens));
    plan.set("pos", Int32Array.from(tokens, (_, i) => n_past + i));
    this.cache.place(plan, spans, n_blocks);
    plan.compute();
    const { n_vocab } = this.hparams;
    const all = new Float32Array(n * n_vocab);
    plan.read(all);
    return Array.from({ length: n }, (_, i) => all.subarray(i * n_vocab, (i + 1) * n_vocab));
  }

  /** The most likely continuation, one token at a time. */
  greedy(prompt: readonly number[], n: number): number[] {
    if (n === 0) return [];
    let row = this.logits(prompt).at(-1)!;
    const ids: number[] = [];
    while (ids.length < n) {
      const id = argmax(row);
      ids.push(id);
      if (ids.length < n) row = this.logits([id], prompt.length + ids.length - 1)[0]!;
    }
    return ids;
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}

/** Index of the largest value, the lowest of equals. */
export function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i;
  return best;
}

/** log(sum(exp(row))). */
export function logSumExp(row: Float32Array): number {
  const max = row[argmax(row)]!;
  let sum = 0;
  for (const x of row) sum += Math.exp(x - max);
  return max + Math.log(sum);
}
