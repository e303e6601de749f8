import { describe, expect, it } from "bun:test";
import { workOf } from "../../bench/work.ts";
import { parseGguf, readGguf } from "../../src/gguf/reader.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { type GgufTensor, u32, writeGguf } from "../support/gguf_writer.ts";

const F16 = 1;
const Q8_0 = 8;

function workOfTensors(tensors: GgufTensor[]) {
  const { bytes } = writeGguf({
    metadata: [
      ["llama.embedding_length", u32(64)],
      ["llama.attention.head_count", u32(4)],
      ["llama.attention.head_count_kv", u32(2)],
      ["llama.block_count", u32(3)],
    ],
    tensors,
  });
  return workOf(parseGguf(bytes, bytes.length, "x.gguf"));
}

const q8 = (name: string, ...ne: [number, number]): GgufTensor => {
  return { name, type: Q8_0, ne, data: new Uint8Array(ne[0] * ne[1] / 32 * 34) };
};
const norm: GgufTensor = { name: "blk.0.attn_norm.weight", ne: [64] };

describe("workOf()", () => {
  it("counts a tied embedding once, as the head", () => {
    const work = workOfTensors([
      q8("token_embd.weight", 64, 10),
      q8("blk.0.attn_q.weight", 64, 64),
      norm,
    ]);
    expect(work.weightBytes).toBe(10 * 68 + 64 * 68 + 256);
  });

  it("does not count an embedding beside a head of its own", () => {
    const work = workOfTensors([
      q8("token_embd.weight", 64, 10),
      q8("output.weight", 64, 20),
      norm,
    ]);
    expect(work.weightBytes).toBe(20 * 68 + 256);
  });

  it("counts two operations for each weight of the layers, but none for the head", () => {
    const work = workOfTensors([
      q8("token_embd.weight", 64, 10),
      q8("blk.0.attn_q.weight", 64, 32),
      norm,
    ]);
    expect(work.linearOps).toBe(2 * 64 * 32);
    expect(work.weights).toBe("bytes");
  });

  it("tells products of floats", () => {
    const data = new Uint8Array(64 * 64 * 2);
    const tensor = { name: "blk.0.attn_q.weight", type: F16, ne: [64, 64], data };
    expect(workOfTensors([q8("output.weight", 64, 10), tensor]).weights).toBe("floats");
  });

  it("counts keys and values of 16 bits in every layer", () => {
    expect(workOfTensors([q8("output.weight", 64, 10)]).cacheBytes).toBe(2 * 2 * 16 * 2 * 3);
  });

  it("knows the default model", () => {
    const work = workOf(readGguf(resolveModel("smollm2").path));
    expect(work).toMatchObject({ fileBytes: 98_362_432, cacheBytes: 23_040 });
    // 106,168,320 weights in 30 layers.
    expect(work.linearOps).toBe(2 * 106_168_320);
    // It is Q4_1.
    expect(work.weights).toBe("codes");
    expect(work.weightBytes).toBeGreaterThan(96e6);
    expect(work.weightBytes).toBeLessThan(work.fileBytes);
  });
});
