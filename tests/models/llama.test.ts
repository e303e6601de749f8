import { describe, expect, test } from "bun:test";
import { ModelError } from "../../src/errors.ts";
import { Graph, type Tensor } from "../../src/graph/record.ts";
import { llama } from "../../src/models/llama.ts";
import type { Hparams, Metadata } from "../../src/models/model.ts";
import { architecture } from "../../src/models/mod.ts";

const base: Record<string, number | string> = {
  "llama.context_length": 128,
  "llama.embedding_length": 64,
  "llama.block_count": 2,
  "llama.attention.head_count": 4,
  "llama.feed_forward_length": 96,
  "llama.attention.layer_norm_rms_epsilon": 1e-5,
};

function metadata(values: Record<string, number | string>): Metadata {
  const read = (key: string, fallback?: unknown): never => {
    const value = values[key] ?? fallback;
    if (value === undefined) throw new ModelError(`Cannot read ${key}`);
    return value as never;
  };
  return { u32: read, f32: read, str: read, has: (key) => key in values };
}

const hparams = (more: Record<string, number | string> = {}): Hparams =>
  llama.hparams(metadata({ ...base, ...more }), 50);

/** Records the graph with the weights that the architecture expects; `without` are left out. */
function record(hp: Hparams, n_outputs: number, without: RegExp): { g: Graph; logits: Tensor } {
  const shapes = new Map(
    llama.tensors(hp).filter(({ name }) => !without.test(name)).map(({ name, ne }) => {
      const [n0 = 1, n1 = 1, n2 = 1] = ne;
      return [name, { type: "f32", ne: [n0, n1, n2, 1] as const }] as const;
    }),
  );
  const g = new Graph((name) => shapes.get(name));
  const tokens = g.input("tokens", "i32", 5);
  const pos = g.input("pos", "i32", 5);
  const inputs = n_outputs < 5
    ? { tokens, pos, out_rows: g.input("out_rows", "i32", n_outputs) }
    : { tokens, pos };
  return { g, logits: llama.graph(g, hp, inputs) };
}

const count = (g: Graph, kind: string): number =>
  g.nodes.filter((node) => node.op.kind === kind).length;

describe("architecture", () => {
  test("finds llama and names what it knows when it does not know a name", () => {
    expect(architecture("llama")).toBe(llama);
    expect(() => architecture("none")).toThrow(/"none", expected one of llama/);
  });
});

describe("llama.hparams", () => {
  test("has the defaults of the format", () => {
    expect(hparams()).toMatchObject({ n_head_kv: 4, n_embd_head: 16, n_vocab: 50 });
    expect(hparams().rope).toMatchObject({ n_dims: 16, freq_base: 10_000, freq_scale: 1 });
  });

  test("reads grouped heads, a head size of its own and the scaling of RoPE", () => {
    const hp = hparams({
      "llama.attention.head_count_kv": 2,
      "llama.attention.key_length": 32,
      "llama.rope.scaling.type": "yarn",
      "llama.rope.scaling.factor": 4,
      "llama.rope.scaling.original_context_length": 32,
    });
    expect(hp).toMatchObject({ n_head_kv: 2, n_embd_head: 32 });
    expect(hp.rope).toMatchObject({ ext_factor: 1, freq_scale: 0.25, n_ctx_orig: 32 });
  });

  test("reads how many experts there are and how many a token goes through", () => {
    expect(hparams()).toMatchObject({ n_expert: 0, n_expert_used: 0 });
    const experts = (n: number, used: number): Hparams =>
      hparams({ "llama.expert_count": n, "llama.expert_used_count": used });
    expect(experts(8, 2)).toMatchObject({ n_expert: 8, n_expert_used: 2 });
    expect(() => experts(8, 0)).toThrow(/0 of 8 experts/);
    expect(() => experts(8, 9)).toThrow(/9 of 8 experts/);
  });

  test("refuses a scaling that it does not know", () => {
    expect(() => hparams({ "llama.rope.scaling.type": "longrope" })).toThrow(/"longrope"/);
  });
});

describe("llama.graph", () => {
  const plain = /bias|rope_freqs/;

  test("gives the logits of every token, or of the wanted ones only", () => {
    expect(record(hparams(), 5, plain).logits.ne).toEqual([50, 5, 1, 1]);
    expect(record(hparams(), 1, plain).logits.ne).toEqual([50, 1, 1, 1]);
  });

  test("attends once in each layer", () => {
    expect(count(record(hparams(), 5, plain).g, "attention")).toBe(2);
  });

  test("has experts in place of the feed-forward layers where the file has some", () => {
    const hp = hparams({ "llama.expert_count": 8, "llama.expert_used_count": 2 });
    const { g, logits } = record(hp, 1, plain);
    expect(logits.ne).toEqual([50, 1, 1, 1]);
    expect(count(g, "moe")).toBe(2);
    expect(count(g, "swiglu_split")).toBe(0);
  });

  test("takes the embedding as output where the file has none", () => {
    const { logits } = record(hparams(), 5, /bias|rope_freqs|^output\.weight/);
    expect(logits.src[0]?.op).toEqual({ kind: "weight", parts: ["token_embd.weight"] });
  });

  test("adds the biases and the frequency factors that the file has", () => {
    const { g } = record(hparams(), 5, /none/);
    // Seven products of a layer, and two residuals.
    expect(count(g, "add")).toBe(2 * (7 + 2));
    const ropes = g.nodes.filter((node) => node.op.kind === "rope");
    expect(ropes.every((node) => node.src.length === 3)).toBe(true);
  });
});
