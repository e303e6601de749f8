import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Backend, Plan } from "../../src/ggml/backend.ts";
import { Library } from "../../src/ggml/library.ts";
import { packsOf, type WeightFile, Weights } from "../../src/ggml/weights.ts";
import { cpuRewrites, lower, type Rewrite } from "../../src/graph/lower.ts";
import { Graph, type Tensor, type WeightLookup } from "../../src/graph/record.ts";

// A file of two weights of floats and a quantized one, which all read the same rows.
const [n_in, n_out, n_tokens] = [64, 32, 19];
const names = ["f16", "bf16", "q8_0"] as const;
const lookup: WeightLookup = (name) => ({ type: name, ne: [n_in, n_out, 1, 1] });

/** Values that every type holds exactly. */
const weights = Float32Array.from({ length: n_in * n_out }, (_, i) => ((i * 37) % 31 - 15) / 16);

function encoded(type: typeof names[number]): Uint8Array {
  const { length } = weights;
  if (type === "f16") return new Uint8Array(Float16Array.from(weights).buffer);
  if (type === "bf16") {
    const words = new Uint16Array(weights.buffer);
    return new Uint8Array(Uint16Array.from({ length }, (_, i) => words[2 * i + 1]!).buffer);
  }
  // Blocks of 32: a scale of 1 / 16 as a half float, then the values by it.
  const bytes = new Uint8Array(length / 32 * 34);
  for (let b = 0; b < length / 32; b++) {
    bytes.set([0x00, 0x2c], 34 * b);
    bytes.set(Int8Array.from(weights.subarray(32 * b, 32 * b + 32), (v) => 16 * v), 34 * b + 2);
  }
  return bytes;
}

let folder = "";
let file: WeightFile;
let library: Library;
let backend: Backend;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-"));
  const path = join(folder, "weights");
  const parts = names.map(encoded);
  writeFileSync(path, new Uint8Array(parts.flatMap((part) => [...part])));
  let offset = 0;
  const tensors = new Map(names.map((name, i) => {
    const { length: size } = parts[i]!;
    offset += size;
    return [name, { offset: offset - size, size }] as const;
  }));
  file = { file: path, fileSize: offset, dataOffset: 0, tensors };
  library = await Library.open();
  backend = new Backend(library, 2);
});
afterAll(() => {
  backend[Symbol.dispose]();
  library[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const shape = { n_tokens, n_streams: 1, n_blocks: 1, n_outputs: n_tokens };
const cache = { k: [], v: [], type: "f32" as const, n_cells: 0 };
const x = Float32Array.from({ length: n_in * n_tokens }, (_, i) => Math.sin(i * 1.7));
const ids = Int32Array.from({ length: n_tokens }, (_, i) => (i * 13) % n_out);

/** What `record` makes of rows `x` or of `ids`, and the lowered nodes. */
function compute(
  record: (g: Graph, x: Tensor) => Tensor,
  rewrites: readonly Rewrite[],
): { values: Float32Array; nodes: readonly Tensor[] } {
  const g = new Graph(lookup);
  const out = record(g, g.input("x", "f32", n_in, n_tokens));
  const lowered = lower(g, out, lookup, rewrites);
  using loaded = Weights.load(library, file, lowered);
  using plan = new Plan(backend, lowered, shape, { weights: loaded, cache, flashAttention: false });
  plan.set("x", x);
  plan.set("ids", ids);
  expect(plan.compute()).toBe(true);
  const values = new Float32Array(out.ne[0] * out.ne[1]);
  plan.read(values);
  return { values, nodes: lowered.nodes };
}

/** Normalized mean square of what differs. */
function distance(expected: Float32Array, found: Float32Array): number {
  let [power, difference] = [0, 0];
  expected.forEach((v, i) => {
    power += v * v;
    difference += (v - found[i]!) ** 2;
  });
  return difference / power;
}

describe("emit", () => {
  const fast = (): Rewrite[] => cpuRewrites(packsOf(library, {}));

  test("multiplies weights of every kind with the same rows as ggml does", () => {
    const record = (g: Graph, rows: Tensor): Tensor =>
      names.map((name) => g.mul_mat(g.weight(name), rows)).reduce((a, b) => g.add(a, b));
    const { values, nodes } = compute(record, fast());
    const tiles = nodes.filter(({ op }) => op.kind === "quantize").map(({ type }) => type);
    const kinds = library.native.sluice_packs(1, n_in, n_out) === 1 ? ["i32", "i8"] : [];
    expect(tiles.sort()).toEqual(kinds);
    expect(distance(compute(record, []).values, values)).toBeLessThan(1e-5);
  });

  test("reads rows of a tied embedding from its panels as from the file", () => {
    for (const name of names) {
      const record = (g: Graph): Tensor => {
        const embd = g.weight(name);
        return g.mul_mat(embd, g.get_rows(embd, g.input("ids", "i32", n_tokens)));
      };
      const { values, nodes } = compute(record, fast());
      const packs = library.native.sluice_packs(1, n_in, n_out) === 1;
      expect(nodes.some(({ op }) => op.kind === "get_rows_packed")).toBe(packs);
      expect(distance(compute(record, []).values, values)).toBeLessThan(1e-5);
    }
  });
});
