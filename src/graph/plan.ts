/**
 * Plans: one lowered graph per batch shape, kept and reused, because between tokens only inputs
 * change.
 *
 * @module
 */
import { lower, type Lowered, type Rewrite } from "./lower.ts";
import { Graph, type Tensor, type WeightLookup } from "./record.ts";

/** What makes two batches use the same graph. */
export interface BatchShape {
  /** Tokens of the batch, the same number of each stream. */
  n_tokens: number;
  /** Lists of blocks: one for each sequence, or for each token where their numbers differ. */
  n_streams: number;
  /** Blocks of such a list. */
  n_blocks: number;
  /** Tokens whose logits are wanted; 0 only fills the cache. */
  n_outputs: number;
}

/** Records what a model computes for a batch and returns the value to give back. */
export type Recorder = (
  g: Graph,
  inputs: { tokens: Tensor; pos: Tensor; out_rows?: Tensor },
) => Tensor;

/** The lowered graph of a batch shape. */
export function planGraph(
  record: Recorder,
  shape: BatchShape,
  lookup: WeightLookup,
  rewrites: readonly Rewrite[],
): Lowered {
  const { n_tokens, n_outputs } = shape;
  const g = new Graph(lookup);
  const tokens = g.input("tokens", "i32", n_tokens);
  const pos = g.input("pos", "i32", n_tokens);
  const logits = record(
    g,
    n_outputs > 0 && n_outputs < n_tokens
      ? { tokens, pos, out_rows: g.input("out_rows", "i32", n_outputs) }
      : { tokens, pos },
  );
  return lower(g, n_outputs > 0 ? logits : undefined, lookup, rewrites);
}

/** What a cache of plans asks of one. */
export interface KeptPlan extends Disposable {
  /** Native memory that it takes. */
  readonly bytes: number;
}

/** The most recently used plans; the oldest are disposed when there is no room. */
export class PlanCache<P extends KeptPlan> implements Disposable {
  readonly #plans = new Map<string, P>();
  readonly #build: (shape: BatchShape) => P;
  readonly #bytesMax: number;
  #bytes = 0;

  /** @param bytesMax bytes that the kept plans may take; the newest is kept whatever its size */
  constructor(build: (shape: BatchShape) => P, bytesMax: number) {
    this.#build = build;
    this.#bytesMax = bytesMax;
  }

  /** The plan of that shape, built if it is not there. */
  get(shape: BatchShape): P {
    const { n_tokens, n_streams, n_blocks, n_outputs } = shape;
    const key = `${n_tokens},${n_streams},${n_blocks},${n_outputs}`;
    let plan = this.#plans.get(key);
    if (plan) {
      this.#plans.delete(key);
    } else {
      plan = this.#build(shape);
      this.#bytes += plan.bytes;
      for (const [oldest, unused] of this.#plans) {
        if (this.#bytes <= this.#bytesMax) break;
        this.#plans.delete(oldest);
        this.#bytes -= unused.bytes;
        unused[Symbol.dispose]();
      }
    }
    this.#plans.set(key, plan);
    return plan;
  }

  /** Plans that are kept now. */
  get size(): number {
    return this.#plans.size;
  }

  [Symbol.dispose](): void {
    for (const plan of this.#plans.values()) plan[Symbol.dispose]();
    this.#plans.clear();
    this.#bytes = 0;
  }
}
