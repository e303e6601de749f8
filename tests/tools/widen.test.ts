import { describe, expect, it } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelError } from "../../src/errors.ts";
import { readGguf } from "../../src/gguf/reader.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { widen, widened } from "../../tools/widen.ts";
import { type GgufTensor, str, u32, writeGguf } from "../support/gguf_writer.ts";

/** f16 in little endian. */
const ONE = [0x00, 0x3c];
const HALF = [0x00, 0x38];
const MINUS_TWO = [0x00, 0xc0];

/** Runs with a folder that is gone afterwards. */
async function inFolder(run: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-widen-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The floats that tensors become, by name. */
async function floatsOf(...tensors: GgufTensor[]): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  await inFolder((folder) => {
    const input = join(folder, "in.gguf");
    writeFileSync(input, writeGguf({ tensors }).bytes);
    const bytes = Uint8Array.from([...widened(input)].flatMap((chunk) => [...chunk]));
    writeFileSync(input, bytes);
    for (const { name, type, offset, size } of readGguf(input).tensors.values()) {
      expect(type).toBe(0);
      found[name] = [...new Float32Array(bytes.slice(offset, offset + size).buffer)];
    }
  });
  return found;
}

/** A tensor of one block. */
function block(type: number, values: number, data: readonly number[]): GgufTensor {
  return { name: "w", type, ne: [values], data: Uint8Array.from(data) };
}

const bytes = (count: number, byte: number): number[] => new Array<number>(count).fill(byte);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe("widened()", () => {
  it("gives the very file that llama.cpp's quantize to F32 writes", () => {
    const hash = createHash("sha256");
    let size = 0;
    for (const chunk of widened(resolveModel("smollm2").path)) {
      hash.update(chunk);
      size += chunk.length;
    }
    expect(size).toBe(539_845_696);
    expect(hash.digest("hex")).toBe(
      "6532799f494167f79cf75f7de685ad44fe6a1fe1a9cd41d7a2cd9603e64d4b9b",
    );
  }, 120_000);

  it.each([
    ["f16", 1, 3, [...ONE, ...HALF, ...MINUS_TWO], [1, 0.5, -2]],
    ["bf16", 30, 2, [0x80, 0x3f, 0x20, 0xc0], [1, -2.5]],
    // Low halves hold the first 16 values, high halves the others.
    ["q4_0", 2, 32, [...HALF, ...bytes(16, 0xf1)], [...bytes(16, -3.5), ...bytes(16, 3.5)]],
    ["q4_1", 3, 32, [...HALF, ...ONE, ...bytes(16, 0x21)], [...bytes(16, 1.5), ...bytes(16, 2)]],
    [
      "q5_0",
      6,
      32,
      [...ONE, 0xff, 0xff, 0, 0, ...bytes(16, 0x21)],
      [...bytes(16, 1), ...bytes(16, -14)],
    ],
    [
      "q5_1",
      7,
      32,
      [...ONE, ...HALF, 0, 0, 0xff, 0xff, ...bytes(16, 0x21)],
      [...bytes(16, 1.5), ...bytes(16, 18.5)],
    ],
    ["q8_0", 8, 32, [...HALF, ...upTo(31), 0x80], [...upTo(31).map((i) => i / 2), -64]],
  ])("decodes %s", async (_name, type, values, data, expected) => {
    expect(await floatsOf(block(type, values, data))).toEqual({ w: expected });
  });

  it("decodes q6_K", async () => {
    // Sixteen values share a scale; the quarters of a half take two bits each of the same bytes.
    const scales = upTo(16).map((i) => i + 1);
    const data = [...bytes(128, 0x21), ...bytes(64, 0b11_10_01_00), ...scales, ...HALF];
    const quarter = [1 - 32, 1 + 16 - 32, 2 + 32 - 32, 2 + 48 - 32];
    const expected = upTo(256).map((i) => scales[i >> 4]! * quarter[(i >> 5) & 3]! * 0.5);
    expect(await floatsOf(block(14, 256, data))).toEqual({ w: expected });
  });

  it("orders tensors as llama.cpp does and keeps metadata but what tells of quantization", async () => {
    await inFolder(async (folder) => {
      const input = join(folder, "in.gguf");
      const names = ["blk.10.a", "blk.2.b", "token_embd", "blk.2.a", "output_norm"];
      const metadata = [
        ["general.file_type", u32(3)],
        ["general.name", str("x")],
        ["split.count", u32(1)],
      ] as [string, ReturnType<typeof u32>][];
      const tensors = names.map((name) => ({ name, ne: [3, 1] }));
      writeFileSync(input, writeGguf({ metadata, tensors }).bytes);
      const output = join(folder, "out.gguf");
      await widen(input, output);
      const gguf = readGguf(output);
      expect([...gguf.tensors.keys()]).toEqual(
        ["output_norm", "token_embd", "blk.2.a", "blk.2.b", "blk.10.a"],
      );
      expect([...gguf.metadata.entries()].map(({ key }) => key)).toEqual(
        ["general.name", "general.quantization_version", "general.file_type"],
      );
      expect(gguf.metadata.u32("general.file_type")).toBe(0);
      expect(readdirSync(folder).sort()).toEqual(["in.gguf", "out.gguf"]);
    });
  });
});

describe("widen()", () => {
  it("names a type that it cannot widen and leaves nothing behind", async () => {
    await inFolder(async (folder) => {
      const input = join(folder, "in.gguf");
      const tensor = block(16, 256, bytes(66, 0));
      writeFileSync(input, writeGguf({ tensors: [tensor] }).bytes);
      const output = join(folder, "out.gguf");
      await expect(widen(input, output)).rejects.toThrow(ModelError);
      await expect(widen(input, output)).rejects.toThrow(
        'tensor "w" has the type iq2_xxs, expected one of',
      );
      expect(existsSync(output)).toBe(false);
      expect(readdirSync(folder)).toEqual(["in.gguf"]);
    });
  });
});
