import { describe, expect, it } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelError } from "../../src/errors.ts";
import { parseGguf, readGguf } from "../../src/gguf/reader.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { writeWhole } from "../../tools/gguf_copy.ts";
import {
  type FileTypeName,
  fileTypes,
  isFileType,
  openQuantizer,
  quantized,
  targetTypes,
  typeNumber,
} from "../../tools/quantize.ts";
import { type GgufTensor, str, u32, writeGguf } from "../support/gguf_writer.ts";

type Shape = [number, number, number, number];

/** Target types of tensors that are F32 now, by name. */
function typesOf(fileType: FileTypeName, tensors: Record<string, Shape>): Record<string, string> {
  const infos = Object.entries(tensors).map(([name, ne]) => [name, { ne, type: 0 }] as const);
  return Object.fromEntries(targetTypes(fileTypes[fileType], new Map(infos)));
}

/** The layers of the default model in which a tensor gets a type. */
function layersWith(types: ReadonlyMap<string, string>, name: string, type: string): number[] {
  return Array.from({ length: 30 }, (_, il) => il)
    .filter((il) => types.get(`blk.${il}.${name}.weight`) === type);
}

describe("targetTypes()", () => {
  const { tensors } = readGguf(resolveModel("smollm2").path);

  // What llama.cpp's quantize made of this file.
  it.each<[FileTypeName, Record<string, number>]>([
    ["f16", { f32: 61, f16: 211 }],
    ["q4_0", { f32: 61, q8_0: 1, q4_0: 210 }],
    ["q5_0", { f32: 61, q8_0: 1, q5_0: 210 }],
    ["q5_1", { f32: 61, q8_0: 1, q5_1: 210 }],
    ["q8_0", { f32: 61, q8_0: 211 }],
    ["q4_k_m", { f32: 61, q8_0: 15, q5_0: 166, q6_K: 14, q4_K: 16 }],
    ["q5_k_m", { f32: 61, q8_0: 15, q5_1: 166, q6_K: 14, q5_K: 16 }],
    ["q6_k", { f32: 61, q8_0: 181, q6_K: 30 }],
  ])("gives the default model the types of llama.cpp's %s", (fileType, expected) => {
    const counts: Record<string, number> = {};
    for (const type of targetTypes(fileTypes[fileType], tensors).values()) {
      counts[type] = (counts[type] ?? 0) + 1;
    }
    expect(counts).toEqual(expected);
  });

  it("gives more bits to the same layers as llama.cpp", () => {
    const types = targetTypes(fileTypes.q4_k_m, tensors);
    const fine = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29];
    expect(layersWith(types, "ffn_down", "q6_K")).toEqual(fine);
    // Rows of 576 are no whole blocks of 256.
    expect(layersWith(types, "attn_v", "q8_0")).toEqual(fine);
    expect(layersWith(types, "ffn_down", "q4_K")).toHaveLength(30 - fine.length);
    expect(layersWith(types, "attn_v", "q5_0")).toHaveLength(30 - fine.length);
  });

  it("uses K-quants where the rows are whole blocks", () => {
    const types = typesOf("q4_k_m", {
      "token_embd.weight": [2048, 32, 1, 1],
      "blk.0.attn_norm.weight": [2048, 1, 1, 1],
      "blk.0.attn_q.weight": [2048, 2048, 1, 1],
      "blk.0.attn_v.weight": [2048, 512, 1, 1],
      "blk.0.ffn_down.weight": [8192, 2048, 1, 1],
    });
    expect(types).toEqual({
      "token_embd.weight": "q6_K",
      "blk.0.attn_norm.weight": "f32",
      "blk.0.attn_q.weight": "q4_K",
      "blk.0.attn_v.weight": "q6_K",
      "blk.0.ffn_down.weight": "q6_K",
    });
  });

  it("treats embeddings as any matrix beside a head of their own", () => {
    const types = typesOf("q4_0", {
      "token_embd.weight": [256, 32, 1, 1],
      "output.weight": [256, 32, 1, 1],
    });
    expect(types).toEqual({ "token_embd.weight": "q4_0", "output.weight": "q6_K" });
  });

  it("leaves norms, biases and what chooses experts alone", () => {
    const names = ["a_norm.weight", "a.bias", "blk.0.ffn_gate_inp.weight"];
    const tensors = names.map((name): [string, Shape] => [name, [256, 8, 1, 1]]);
    expect(Object.values(typesOf("q8_0", Object.fromEntries(tensors)))).toEqual(
      ["f32", "f32", "f32"],
    );
  });

  it("takes f16 where no blocks fit", () => {
    expect(typesOf("q4_k_m", { "a.weight": [48, 2, 1, 1] })).toEqual({ "a.weight": "f16" });
  });
});

/** Runs with the path of a small file and of one that does not exist. */
async function withFile(
  tensors: GgufTensor[],
  run: (input: string, output: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-quantize-"));
  try {
    const input = join(folder, "in.gguf");
    const metadata = [["general.file_type", u32(3)], ["general.name", str("x")]] as const;
    writeFileSync(input, writeGguf({ metadata, tensors }).bytes);
    await run(input, join(folder, "out.gguf"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("quantized()", () => {
  it.each<[FileTypeName, number, string]>([
    ["q4_0", 91_726_912, "aa4256f3b46eb4add75ece1c0eeac1c6e4f1ec0c93e6fbe64fe1770f4ad09ae8"],
    ["q8_0", 144_811_072, "7b46609d11703c058397e5cfe4cc6e4b2508cb1eb4c80ddc472a5d421fbdb508"],
  ])("gives the very file that llama.cpp's quantize to %s writes", async (type, bytes, sha256) => {
    const hash = createHash("sha256");
    let size = 0;
    for (const chunk of quantized(resolveModel("smollm2").path, type, await openQuantizer())) {
      hash.update(chunk);
      size += chunk.length;
    }
    expect([size, hash.digest("hex")]).toEqual([bytes, sha256]);
  }, 120_000);

  it("copies what has its type already", async () => {
    const data = Uint8Array.from({ length: 2 * 34 }, (_, i) => i);
    const tensor = { name: "a.weight", type: typeNumber("q8_0"), ne: [32, 2], data };
    await withFile([tensor], async (input, output) => {
      await writeWhole(
        output,
        quantized(input, "q8_0", () => {
          throw new TypeError("nothing is to be quantized");
        }),
      );
      const chunks = [...quantized(output, "q8_0", await openQuantizer())].map((c) => c.slice());
      const bytes = Uint8Array.from(chunks.flatMap((chunk) => [...chunk]));
      const copy = parseGguf(bytes, bytes.length, output);
      const { offset, size } = copy.tensors.get("a.weight")!;
      expect(bytes.slice(offset, offset + size)).toEqual(data);
      expect(copy.metadata.u32("general.file_type")).toBe(7);
    });
  });

  it("names a type that it cannot read and leaves nothing behind", async () => {
    const data = new Uint8Array(2 * 66);
    const tensor = { name: "a.weight", type: typeNumber("iq2_xxs"), ne: [256, 2], data };
    await withFile([tensor], async (input, output) => {
      const write = writeWhole(output, quantized(input, "q8_0", await openQuantizer()));
      await expect(write).rejects.toThrow(ModelError);
      expect(existsSync(output)).toBe(false);
      expect(readdirSync(join(output, ".."))).toEqual(["in.gguf"]);
    });
  });
});

describe("openQuantizer()", () => {
  it("gives whole rows of blocks, by ggml", async () => {
    const quantize = await openQuantizer();
    const values = Float32Array.from({ length: 64 }, (_, i) => i % 32 === 0 ? 127 : i % 32);
    const bytes = quantize(values, typeNumber("q8_0"), 32).slice();
    expect(bytes).toHaveLength(2 * 34);
    // A scale of one, as f16, and the values themselves.
    const row = [0x00, 0x3c, 127, ...Array.from({ length: 31 }, (_, i) => i + 1)];
    expect([...bytes]).toEqual([...row, ...row]);
  });
});

describe("isFileType()", () => {
  it.each([["q4_k_m", true], ["q4_9", false], ["toString", false]])("of %s is %s", (name, is) => {
    expect(isFileType(name)).toBe(is);
  });
});
