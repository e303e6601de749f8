import { describe, expect, it } from "bun:test";
import { GgufError } from "../../src/errors.ts";
import type { Metadata } from "../../src/gguf/metadata.ts";
import { parseGguf } from "../../src/gguf/reader.ts";
import {
  bool,
  f32,
  f32s,
  type GgufFile,
  i32s,
  str,
  strings,
  u32,
  writeGguf,
} from "../support/gguf_writer.ts";

const MUTANTS = 100_000;
const LIMIT_MS = 50;

/** A file with a value of each type. */
const rich: GgufFile = {
  metadata: [
    ["general.architecture", str("llama")],
    ["general.alignment", u32(32)],
    ["general.name", str("fuzz")],
    ["u8", { type: "u8", value: 1 }],
    ["i8", { type: "i8", value: -1 }],
    ["u16", { type: "u16", value: 2 }],
    ["i16", { type: "i16", value: -2 }],
    ["i32", { type: "i32", value: -3 }],
    ["u64", { type: "u64", value: 4n }],
    ["i64", { type: "i64", value: -4n }],
    ["f32", f32(0.5)],
    ["f64", { type: "f64", value: 0.25 }],
    ["bool", bool(true)],
    ["tokenizer.ggml.tokens", strings(["<s>", "", "a", "\u2581b", "cd", "<0x0A>"])],
    ["tokenizer.ggml.scores", f32s([0, -1, -2, -3, -4, -5])],
    ["tokenizer.ggml.token_type", i32s([3, 1, 1, 1, 1, 6])],
  ],
  tensors: [
    { name: "token_embd.weight", ne: [8, 6] },
    { name: "blk.0.attn_q.weight", type: 8, ne: [32, 2], data: new Uint8Array(68) },
    { name: "blk.0.ffn_down.weight", type: 14, ne: [256, 1, 1, 1], data: new Uint8Array(210) },
    { name: "output_norm.weight", ne: [8] },
  ],
};

/** A generator of numbers from 0 up to below 2 ** 32, the same on every machine. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  };
}

const written = writeGguf(rich);
const extremes = [
  ...[0n, 1n, -1n, 2n, 7n, 8n, 63n, 64n, 255n, 65_536n, 65_537n, 2n ** 22n, 2n ** 24n + 1n],
  ...[
    2n ** 31n - 1n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n,
    2n ** 63n - 1n,
    -(2n ** 63n),
  ],
];

/** Damages a copy of the file in one to three ways. */
function mutate(seed: number): Uint8Array {
  const next = random(seed);
  const below = (n: number): number => next() % n;
  let bytes = written.bytes.slice();
  for (let i = below(3); i >= 0; i--) {
    const view = new DataView(bytes.buffer);
    const field = written.fields[below(written.fields.length)]!;
    const at = below(Math.max(1, bytes.length));
    const kind = below(8);
    if (kind < 4 && field.at + field.bytes <= bytes.length) {
      const value = kind < 2
        ? extremes[below(extremes.length)]!
        : BigInt(view.getUint32(field.at, true)) + BigInt(below(17) - 8);
      if (field.bytes === 8) view.setBigInt64(field.at, value, true);
      else view.setUint32(field.at, Number(value & 0xffffffffn), true);
    } else if (kind === 4) {
      bytes = bytes.slice(0, at);
    } else if (kind === 5) {
      // A piece of the file once more, or gone.
      const end = Math.min(bytes.length, at + below(64));
      const piece = below(2) === 0 ? bytes.slice(at, end) : new Uint8Array();
      bytes = Uint8Array.from([...bytes.slice(0, at), ...piece, ...bytes.slice(end)]);
    } else if (kind === 6) {
      bytes[at] = next();
    } else {
      for (let j = below(32); j >= 0; j--) bytes[below(Math.max(1, bytes.length))] = next();
    }
  }
  return bytes;
}

/** Asks for each value in each way; what is wrong is a GgufError. */
function readAll(metadata: Metadata): void {
  const readers = [
    (key: string) => metadata.u32(key),
    (key: string) => metadata.f32(key),
    (key: string) => metadata.bool(key),
    (key: string) => metadata.str(key),
    (key: string) => metadata.i32s(key),
    (key: string) => metadata.f32s(key),
    (key: string) => {
      const read = metadata.strings(key);
      for (let i = 0; i < read.length; i++) read.at(i);
    },
  ];
  for (const { key } of metadata.entries()) {
    for (const read of readers) {
      try {
        read(key);
      } catch (error) {
        if (!(error instanceof GgufError) || error.key !== key) throw error;
      }
    }
  }
}

/** Reads a file to the last value; gives the refusal, and how long it took. */
function tryRead(bytes: Uint8Array): { refusal: GgufError | undefined; ms: number } {
  const start = performance.now();
  let refusal: GgufError | undefined;
  try {
    const gguf = parseGguf(bytes, bytes.length, "mutant");
    for (const { offset, size } of gguf.tensors.values()) {
      if (offset < 0 || !(offset + size <= bytes.length)) throw new Error("a tensor is outside");
    }
    readAll(gguf.metadata);
  } catch (error) {
    if (!(error instanceof GgufError)) throw error;
    refusal = error;
  }
  return { refusal, ms: performance.now() - start };
}

describe("parseGguf()", () => {
  it(`gives a header or a GgufError for ${MUTANTS} damaged headers, soon`, () => {
    let accepted = 0;
    const problems = new Set<string>();
    for (let seed = 0; seed < MUTANTS; seed++) {
      const bytes = mutate(seed);
      try {
        let { refusal, ms } = tryRead(bytes);
        // Another program may have had the processor: what counts is the best of a few.
        for (let i = 0; i < 5 && ms > LIMIT_MS; i++) ms = Math.min(ms, tryRead(bytes).ms);
        if (ms > LIMIT_MS) throw new Error(`it took ${ms} ms`);
        if (refusal === undefined) accepted++;
        else {
          const { file, offset, message } = refusal;
          if (file !== "mutant" || !Number.isFinite(offset) || offset < 0) throw refusal;
          problems.add(message.replace(/"[^"]*"|\d+/g, ""));
        }
      } catch (cause) {
        throw new Error(`the header of seed ${seed}`, { cause });
      }
    }
    // Both outcomes must be common, or the damage would not reach far.
    expect(accepted).toBeGreaterThan(MUTANTS / 100);
    expect(MUTANTS - accepted).toBeGreaterThan(MUTANTS / 4);
    expect(problems.size).toBeGreaterThan(30);
  }, 120_000);
});
