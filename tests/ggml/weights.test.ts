import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Backend, Plan } from "../../src/ggml/backend.ts";
import { Library } from "../../src/ggml/library.ts";
import { type WeightFile, Weights } from "../../src/ggml/weights.ts";
import { DisposedError, LibraryError } from "../../src/errors.ts";
import { cpuRewrites, lower, type Lowered, type Rewrite } from "../../src/graph/lower.ts";
import { Graph } from "../../src/graph/record.ts";

// A file of three matrices: x -> swiglu(gate x, up x), and one that lies between them.
const [n_in, n_out] = [4, 3];
const shape = { type: "f32", ne: [n_in, n_out, 1, 1] as const };
const lookup = () => shape;
const names = ["gate", "between", "up"];
const bytes = n_in * n_out * 4;
const values = Float32Array.from({ length: 3 * n_in * n_out }, (_, i) => (i % 7) / 8);

let folder = "";
let file: WeightFile;
let library: Library;
let backend: Backend;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-"));
  const path = join(folder, "weights");
  const header = new Uint8Array(64);
  const data = new Uint8Array(names.length * 64);
  names.forEach((_, i) => data.set(new Uint8Array(values.buffer, i * bytes, bytes), i * 64));
  writeFileSync(path, new Uint8Array([...header, ...data]));
  file = {
    file: path,
    fileSize: header.length + data.length,
    dataOffset: 64,
    tensors: new Map(names.map((name, i) => [name, { offset: 64 + i * 64, size: bytes }])),
  };
  library = await Library.open();
  backend = new Backend(library, 1);
});
afterAll(() => {
  backend[Symbol.dispose]();
  library[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function graph(rewrites: readonly Rewrite[]): Lowered {
  const g = new Graph(lookup);
  const x = g.input("x", "f32", n_in, 1);
  const out = g.swiglu_split(g.mul_mat(g.weight("gate"), x), g.mul_mat(g.weight("up"), x));
  return lower(g, out, lookup, rewrites);
}

const one = { n_tokens: 1, n_streams: 1, n_blocks: 1, n_outputs: 1 };
const cache = { k: [], v: [], type: "f32" as const };

/** What the graph gives for an input, through weights that were loaded for it. */
function compute(lowered: Lowered): number[] {
  using weights = Weights.load(library, file, lowered);
  using plan = new Plan(backend, lowered, one, { weights, cache, flashAttention: false });
  plan.set("x", Float32Array.of(1, -2, 3, 0.5));
  expect(plan.compute()).toBe(true);
  const result = new Float32Array(n_out);
  plan.read(result);
  return [...result];
}

describe("Weights", () => {
  test("stay in the mapped file where no two are joined, and are copied where they are", () => {
    using mapped = Weights.load(library, file, graph([]));
    expect(mapped.copiedBytes).toBe(0);
    using joined = Weights.load(library, file, graph(cpuRewrites(() => false)));
    expect(joined.copiedBytes).toBe(2 * bytes);
  });

  test("give the products of the file's values, joined or not", () => {
    const row = (matrix: number, j: number): number => {
      const at = (matrix * n_out + j) * n_in;
      return [1, -2, 3, 0.5].reduce((sum, x, i) => sum + x * values[at + i]!, 0);
    };
    const expected = [0, 1, 2].map((j) => {
      const gate = row(0, j);
      return gate / (1 + Math.exp(-gate)) * row(2, j);
    });
    compute(graph([])).forEach((x, j) => expect(x).toBeCloseTo(expected[j]!, 5));
    expect(compute(graph(cpuRewrites(() => false)))).toEqual(compute(graph([])));
  });

  test("tell their progress up to the whole", () => {
    const told: [number, number][] = [];
    const onProgress = (done: number, all: number): unknown => told.push([done, all]);
    using weights = Weights.load(library, file, graph([]), { onProgress });
    expect(weights.copiedBytes).toBe(0);
    expect(told).toEqual([[bytes, 2 * bytes], [2 * bytes, 2 * bytes]]);
  });

  test("throw LibraryError for a file that changed since its header was read, and for one that is gone", () => {
    const load = (changed: Partial<WeightFile>) => () =>
      Weights.load(library, { ...file, ...changed }, graph([]));
    expect(load({ fileSize: file.fileSize + 1 })).toThrow(LibraryError);
    expect(load({ file: join(folder, "gone") })).toThrow(/gone/);
  });

  test("throw for a weight that they were not loaded for", () => {
    using weights = Weights.load(library, file, graph([]));
    expect(() => weights.get(["between"], "product")).toThrow(LibraryError);
  });
});

describe("Weights of stacks of matrices", () => {
  test("are joined matrix by matrix", () => {
    // Two stacks of two matrices each; the first one is all ones, the second all twos and so on.
    const n = 4;
    const stack = (
      first: number,
    ): number[] => [...Array(n * n).fill(first), ...Array(n * n).fill(first + 1)];
    const path = join(folder, "stacks");
    const data = Float32Array.from([...stack(1), ...stack(3)]);
    writeFileSync(path, new Uint8Array(data.buffer));
    const size = data.byteLength / 2;
    const stacks: WeightFile = {
      file: path,
      fileSize: data.byteLength,
      dataOffset: 0,
      tensors: new Map([["a", { offset: 0, size }], ["b", { offset: size, size }]]),
    };
    const g = new Graph(() => ({ type: "f32", ne: [n, n, 2, 1] }));
    const joined = g.concat_weights(["a", "b"]);
    const lowered = { nodes: [joined, g.reshape(joined, n * n * 4)], output: g.nodes[1] };
    using weights = Weights.load(library, stacks, lowered);
    const found = new Float32Array(data.length);
    library.native.ggml_backend_tensor_get(
      weights.get(["a", "b"], "rows"),
      found,
      0n,
      BigInt(found.byteLength),
    );
    const rows = Array.from({ length: 4 }, (_, i) => found[i * n * n]);
    expect(rows).toEqual([1, 3, 2, 4]);
  });
});

describe("Backend", () => {
  test("stops when every member is cancelled, and computes when one is not", () => {
    const lowered = graph([]);
    using weights = Weights.load(library, file, lowered);
    using plan = new Plan(backend, lowered, one, { weights, cache, flashAttention: false });
    plan.set("x", new Float32Array(n_in));
    const flags = new Int32Array(new SharedArrayBuffer(12));
    const members = Int32Array.of(0, 2);
    flags.set([1, 0, 0]);
    expect(plan.compute({ flags, members })).toBe(true);
    flags.set([1, 0, 1]);
    expect(plan.compute({ flags, members })).toBe(false);
    flags.fill(0);
    plan.set("x", new Float32Array(n_in));
    expect(plan.compute({ flags, members })).toBe(true);
  });

  test("throws DisposedError after it was disposed", () => {
    const lowered = graph([]);
    const own = new Backend(library, 1);
    using weights = Weights.load(library, file, lowered);
    using plan = new Plan(own, lowered, one, { weights, cache, flashAttention: false });
    own[Symbol.dispose]();
    expect(() => plan.compute()).toThrow(DisposedError);
  });
});
