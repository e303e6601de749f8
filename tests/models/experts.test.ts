import { Buffer } from "node:buffer";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { weightLookup } from "../../src/core/tensors.ts";
import { Backend, Plan } from "../../src/ggml/backend.ts";
import { Library } from "../../src/ggml/library.ts";
import { packsOf, Weights } from "../../src/ggml/weights.ts";
import { type Gguf, readGguf } from "../../src/gguf/reader.ts";
import { cpuRewrites } from "../../src/graph/lower.ts";
import { planGraph } from "../../src/graph/plan.ts";
import { decoders } from "../../tools/block_decoders.ts";
import { openQuantizer, type Quantize, typeNumber } from "../../tools/quantize.ts";
import { writeGguf } from "../support/gguf_writer.ts";

interface Layer {
  type: string;
  n_embd: number;
  n_ff: number;
  n_expert: number;
  n_expert_used: number;
}

/** Values between -1 and 1 without a pattern. */
function noise(n: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

let folder = "";
let library: Library;
let quantize: Quantize;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-"));
  library = await Library.open();
  quantize = await openQuantizer();
});
afterAll(() => {
  library[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** The weights of a layer in a file, and as numbers. */
interface Written {
  gguf: Gguf;
  values: Record<"router" | "gate" | "up" | "down", Float32Array>;
}

/** Random weights, but for a `router` that is given. */
function write(
  { type, n_embd, n_ff, n_expert }: Layer,
  router = noise(n_embd * n_expert, 7),
): Written {
  const experts = (name: string, n_in: number, n_out: number) => {
    const values = noise(n_in * n_out * n_expert, name.charCodeAt(0)).map((x) => x / 8);
    const data = quantize(values, typeNumber(type), n_in).slice();
    decoders.get(type)!(data, values);
    return { name, type: typeNumber(type), ne: [n_in, n_out, n_expert], data, values };
  };
  const [gate, up] = [experts("gate", n_embd, n_ff), experts("up", n_embd, n_ff)];
  const down = experts("down", n_ff, n_embd);
  const tensors = [{ name: "router", ne: [n_embd, n_expert], data: bytesOf(router) }];
  const path = join(folder, `${type}.gguf`);
  writeFileSync(path, writeGguf({ tensors: [...tensors, gate, up, down] }).bytes);
  const values = { router, gate: gate.values, up: up.values, down: down.values };
  return { gguf: readGguf(path), values };
}

/** How much of its rows is added to what the layer gives for them. */
const RESIDUAL = 1 / 16;

/** The layer for rows `x` in double precision. */
function exact(layer: Layer, w: Written["values"], x: Float32Array): Float32Array {
  const { n_embd, n_ff, n_expert, n_expert_used } = layer;
  const dot = (a: Float32Array, b: Float32Array | number[], at: number): number => {
    let sum = 0;
    for (let k = 0; k < b.length; k++) sum += a[at + k]! * b[k]!;
    return sum;
  };
  const out = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += n_embd) {
    const row = x.subarray(from, from + n_embd);
    const scores = Array.from({ length: n_expert }, (_, e) => dot(w.router, row, e * n_embd));
    const chosen = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b)
      .slice(0, n_expert_used);
    const parts = chosen.map((e) => Math.exp(scores[e]! - scores[chosen[0]!]!));
    const whole = parts.reduce((sum, part) => sum + part, 0);
    const sums = [...row].map((value) => value * RESIDUAL);
    chosen.forEach((e, rank) => {
      const hidden = Array.from({ length: n_ff }, (_, i) => {
        const at = (e * n_ff + i) * n_embd;
        const gate = dot(w.gate, row, at);
        return gate / (1 + Math.exp(-gate)) * dot(w.up, row, at);
      });
      for (let i = 0; i < n_embd; i++) {
        sums[i]! += parts[rank]! / whole * dot(w.down, hidden, (e * n_embd + i) * n_ff);
      }
    });
    out.set(sums, from);
  }
  return out;
}

/** The same by panels, or by ggml's own ops. */
function compute(gguf: Gguf, layer: Layer, x: Float32Array, packed = true, n_threads = 2) {
  const { n_embd, n_expert_used } = layer;
  const n_tokens = x.length / n_embd;
  const shape = { n_tokens, n_streams: 1, n_blocks: 1, n_outputs: n_tokens };
  const lookup = weightLookup(gguf);
  const lowered = planGraph(
    (g) => {
      const rows = g.input("x", "f32", n_embd, n_tokens);
      const weights = {
        router: g.weight("router"),
        gate: g.weight("gate"),
        up: g.weight("up"),
        down: g.weight("down"),
      };
      return g.add(g.moe(rows, weights, n_expert_used), g.input("h", "f32", n_embd, n_tokens));
    },
    shape,
    lookup,
    packed ? cpuRewrites(packsOf(library, {})) : [],
  );
  expect(lowered.nodes.some(({ op }) => op.kind === "moe_packed")).toBe(packed);
  using backend = new Backend(library, n_threads);
  using weights = Weights.load(library, gguf, lowered);
  const cache = { k: [], v: [], type: "f16" as const, n_cells: 0 };
  using plan = new Plan(backend, lowered, shape, { weights, cache, flashAttention: false });
  plan.set("x", x);
  plan.set("h", x.map((value) => value * RESIDUAL));
  plan.compute();
  const out = new Float32Array(x.length);
  plan.read(out);
  return out;
}

/** Normalized mean square error. */
function nmse(found: Float32Array, expected: Float32Array): number {
  const power = expected.reduce((sum, x) => sum + x * x, 0);
  return expected.reduce((sum, x, i) => sum + (x - found[i]!) ** 2, 0) / power;
}

const sameBits = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(bytesOf(a)).equals(Buffer.from(bytesOf(b)));

const layers: Layer[] = [
  { type: "q4_0", n_embd: 256, n_ff: 512, n_expert: 8, n_expert_used: 2 },
  { type: "q8_0", n_embd: 96, n_ff: 32, n_expert: 5, n_expert_used: 3 },
  { type: "q4_1", n_embd: 64, n_ff: 64, n_expert: 3, n_expert_used: 3 },
  { type: "q6_K", n_embd: 256, n_ff: 256, n_expert: 40, n_expert_used: 1 },
];

describe.each(layers)(
  "Experts of $type in panels, $n_expert_used of $n_expert",
  (layer) => {
    const x = noise(64 * layer.n_embd, 3);

    test("are as close to double precision as ggml's own ops", () => {
      const { gguf, values } = write(layer);
      const expected = exact(layer, values, x);
      const distance = nmse(compute(gguf, layer, x), expected);
      const distance_of_ggml = nmse(compute(gguf, layer, x, false), expected);
      expect(distance).toBeLessThan(1.05 * distance_of_ggml);
    });

    test("give a token the same bits in any batch and with any number of threads", () => {
      const { gguf } = write(layer);
      const whole = compute(gguf, layer, x, true, 1);
      for (const n_threads of [1, 2, 3]) {
        for (const n of [1, 4, 8, 64]) {
          const part = x.subarray(x.length - n * layer.n_embd).slice();
          const found = compute(gguf, layer, part, true, n_threads);
          expect(sameBits(found, whole.subarray(x.length - found.length))).toBe(true);
        }
      }
    });
  },
);

describe("Experts of equal scores", () => {
  test("are taken from the first on, by all tokens", () => {
    const layer = layers[0]!;
    const x = noise(40 * layer.n_embd, 5);
    const { gguf, values } = write(layer, new Float32Array(layer.n_embd * layer.n_expert));
    expect(nmse(compute(gguf, layer, x), exact(layer, values, x))).toBeLessThan(1e-4);
  });
});
