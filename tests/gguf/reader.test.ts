import { describe, expect, it } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GgufError } from "../../src/errors.ts";
import { ggufLimits } from "../../src/gguf/limits.ts";
import { type Gguf, parseGguf, readGguf } from "../../src/gguf/reader.ts";
import {
  type GgufField,
  type GgufFile,
  str,
  strings,
  u32,
  writeGguf,
  type WrittenGguf,
} from "../support/gguf_writer.ts";

const small: GgufFile = {
  metadata: [
    ["general.architecture", str("llama")],
    ["llama.block_count", u32(2)],
    ["tokenizer.ggml.tokens", strings(["a", "", "\u00e9t\u00e9"])],
  ],
  tensors: [
    { name: "token_embd.weight", ne: [8, 3] },
    { name: "blk.0.attn_q.weight", type: 8, ne: [32, 2], data: new Uint8Array(68) },
    { name: "output_norm.weight", ne: [8] },
  ],
};

function parse({ bytes }: WrittenGguf): Gguf {
  return parseGguf(bytes, bytes.length, "x.gguf");
}

/** The error that reading the bytes gives. */
function refusal(bytes: Uint8Array, fileSize = bytes.length): GgufError {
  try {
    parseGguf(bytes, fileSize, "x.gguf");
  } catch (error) {
    if (error instanceof GgufError) return error;
    throw error;
  }
  throw new Error("the file was accepted");
}

/** The small file with one of its numbers replaced: the `index`th of its kind. */
function withField(what: GgufField["what"], index: number, value: bigint): [Uint8Array, number] {
  const { bytes, fields } = writeGguf(small);
  const field = fields.filter((f) => f.what === what)[index]!;
  const view = new DataView(bytes.buffer);
  if (field.bytes === 8) view.setBigInt64(field.at, value, true);
  else view.setUint32(field.at, Number(value), true);
  return [bytes, field.at];
}

describe("parseGguf()", () => {
  it("reads metadata and the tensor index", () => {
    const written = writeGguf(small);
    const gguf = parse(written);
    const dataOffset = Math.ceil(written.headerEnd / 32) * 32;
    expect(gguf.version).toBe(3);
    expect(gguf.file).toBe("x.gguf");
    expect(gguf.fileSize).toBe(written.bytes.length);
    expect(gguf.dataOffset).toBe(dataOffset);
    expect(gguf.metadata.str("general.architecture")).toBe("llama");
    expect([...gguf.tensors.keys()]).toEqual(small.tensors!.map(({ name }) => name));
    expect(gguf.tensors.get("blk.0.attn_q.weight")).toEqual({
      name: "blk.0.attn_q.weight",
      type: 8,
      ne: [32, 2, 1, 1],
      offset: dataOffset + 96,
      size: 68,
    });
  });

  it("reads version 2", () => {
    expect(parse(writeGguf({ ...small, version: 2 })).version).toBe(2);
  });

  it("reads a file without metadata and tensors", () => {
    const gguf = parse(writeGguf({}));
    expect(gguf.tensors.size).toBe(0);
    expect([...gguf.metadata.entries()]).toEqual([]);
  });

  it("takes the alignment that the file names", () => {
    const alignment = 4096;
    const metadata = [["general.alignment", u32(alignment)]] as const;
    const gguf = parse(writeGguf({ ...small, metadata, alignment }));
    expect(gguf.dataOffset).toBe(4096);
    expect([...gguf.tensors.values()].map(({ offset }) => offset)).toEqual([4096, 8192, 12288]);
  });

  it("accepts tensors in another order than their data", () => {
    const tensors = [{ name: "b", ne: [8], offset: 32 }, { name: "a", ne: [8], offset: 0 }];
    const gguf = parse(writeGguf({ tensors }));
    expect(gguf.tensors.get("a")!.offset).toBe(gguf.dataOffset);
  });

  it("needs no more than the header of a large file", () => {
    const { bytes, headerEnd } = writeGguf(small);
    const gguf = parseGguf(bytes.subarray(0, headerEnd), bytes.length, "x.gguf");
    expect(gguf.tensors.size).toBe(3);
  });

  it("says so when it is given less than the header", () => {
    const { bytes, headerEnd } = writeGguf(small);
    expect(() => parseGguf(bytes.subarray(0, headerEnd - 1), bytes.length, "x.gguf"))
      .toThrow(`the header is longer than the ${headerEnd - 1} bytes that were given`);
  });

  it("refuses a file cut off at any byte", () => {
    const { bytes } = writeGguf(small);
    for (let length = 0; length < bytes.length; length++) {
      const error = refusal(bytes.subarray(0, length));
      expect(error.file).toBe("x.gguf");
      expect(error.message).toContain("cut off or damaged");
    }
  });
});

describe("parseGguf() refuses", () => {
  const max = 2n ** 63n - 1n;
  it.each(
    [
      ["another kind of file", "magic", 0, 0x04034b50n, undefined, "it begins with 04034b50"],
      ["version 0", "version", 0, 0n, undefined, "its GGUF version is 0, expected 2 or 3"],
      ["version 1", "version", 0, 1n, undefined, "its GGUF version is 1, expected 2 or 3"],
      ["version 4", "version", 0, 4n, undefined, "its GGUF version is 4, expected 2 or 3"],
      ["big endian", "version", 0, 3n << 24n, undefined, "big-endian GGUF file, expected little"],
      ["too many tensors", "count", 0, 65_537n, undefined, "65537 tensors, expected at most 65536"],
      ["a negative count", "count", 1, -1n, undefined, "metadata keys, expected at most 65536"],
      ["an empty key", "length", 0, 0n, undefined, "a metadata key has 0 bytes"],
      ["a huge key", "length", 0, 65_536n, undefined, "has 65536 bytes, expected 1 to 65535"],
      ["a key with a length of 63 bits", "length", 0, max, undefined, "expected 1 to 65535"],
      ["an unknown value type", "type", 1, 13n, "llama.block_count", "type number 13, expected 0"],
      ["a string past the end", "length", 1, 5000n, "general.architecture", "the file has"],
      [
        "a huge string",
        "length",
        1,
        2n ** 40n,
        "general.architecture",
        "expected at most 16777216",
      ],
      ["an array of arrays", "type", 3, 9n, "tokenizer.ggml.tokens", "is an array of arrays"],
      ["a huge array", "length", 4, 2n ** 33n, "tokenizer.ggml.tokens", "expected at most 4194304"],
      ["an array past the end", "length", 4, 4_000_000n, "tokenizer.ggml.tokens", "the file has"],
      ["a huge string in an array", "length", 5, -1n, "tokenizer.ggml.tokens", "expected at most"],
      ["an empty tensor name", "length", 8, 0n, undefined, "a tensor name has 0 bytes"],
      ["a long tensor name", "length", 8, 64n, undefined, "64 bytes, expected 1 to 63"],
      [
        "no dimensions",
        "dimensions",
        0,
        0n,
        "token_embd.weight",
        "has 0 dimensions, expected 1 to 4",
      ],
      ["five dimensions", "dimensions", 0, 5n, "token_embd.weight", "has 5 dimensions"],
      ["a size of 0", "size", 1, 0n, "token_embd.weight", "has 0 as size 1, expected sizes from 1"],
      [
        "a negative size",
        "size",
        0,
        -8n,
        "token_embd.weight",
        "as size 0, expected sizes from 1 up",
      ],
      ["sizes whose product overflows", "size", 1, 2n ** 51n, "token_embd.weight", "below 2 ** 53"],
      ["an unknown tensor type", "type", 5, 43n, "blk.0.attn_q.weight", "the type number 43"],
      ["a removed tensor type", "type", 5, 4n, "blk.0.attn_q.weight", "the type number 4"],
      ["a negative tensor type", "type", 5, -1n, "blk.0.attn_q.weight", "type number 4294967295"],
      [
        "rows of part of a block",
        "type",
        4,
        3n,
        "token_embd.weight",
        "rows of 8 values, expected a",
      ],
      ["an offset off the alignment", "offset", 1, 97n, "blk.0.attn_q.weight", "begins at 97"],
    ] as const,
  )("%s", (_name, what, index, value, key, message) => {
    const [bytes, at] = withField(what, index, value);
    const error = refusal(bytes);
    expect(error.message).toMatch(/^Cannot read "x\.gguf": /);
    expect(error.message).toContain(message);
    expect(error.file).toBe("x.gguf");
    expect(error.key).toBe(key);
    // Where the number lies, or just behind it where it was used.
    expect(error.offset).toBeGreaterThanOrEqual(at);
    expect(error.offset).toBeLessThanOrEqual(at + 8);
  });

  it("a tensor past the end", () => {
    const [bytes] = withField("offset", 2, 1n << 40n);
    const error = refusal(bytes);
    expect(error.message).toContain(`the file has ${bytes.length}, it is cut off or damaged`);
    expect(error.key).toBe("output_norm.weight");
    expect(error.offset).toBeGreaterThan(2 ** 40);
  });

  it("an offset that would overflow", () => {
    const [bytes] = withField("offset", 2, -32n);
    expect(refusal(bytes).key).toBe("output_norm.weight");
  });

  it("tensors that share a byte", () => {
    const [bytes] = withField("offset", 2, 96n + 64n);
    const error = refusal(bytes);
    expect(error.message).toContain('"blk.0.attn_q.weight" and "output_norm.weight" overlap');
    expect(error.key).toBe("output_norm.weight");
  });

  it("a key that is there twice", () => {
    const metadata = [["a.b", u32(1)], ["a.c", u32(1)], ["a.b", u32(2)]] as const;
    const { bytes } = writeGguf({ metadata });
    const error = refusal(bytes);
    expect(error.message).toContain('key "a.b" is there twice');
    expect([error.key, error.offset]).toEqual(["a.b", 24 + 2 * (8 + 3 + 4 + 4)]);
  });

  it("a tensor that is there twice", () => {
    const { bytes } = writeGguf({ tensors: [{ name: "w", ne: [1] }, { name: "w", ne: [1] }] });
    const error = refusal(bytes);
    expect(error.message).toContain('tensor "w" is there twice');
    expect(error.key).toBe("w");
  });

  it("a key that is not UTF-8", () => {
    const { bytes } = writeGguf({ metadata: [["abc", u32(1)]] });
    bytes[24 + 8 + 1] = 0xff;
    const error = refusal(bytes);
    expect(error.message).toContain("a metadata key is not UTF-8");
    expect(error.offset).toBe(24);
  });

  it.each([0, 1, 4, 33, 96, 131_072])("an alignment of %d", (alignment) => {
    const { bytes } = writeGguf({ metadata: [["general.alignment", u32(alignment)]] });
    const error = refusal(bytes);
    expect(error.message).toContain(
      `key "general.alignment" is ${alignment}, expected a power of two from 8 to 65536`,
    );
    expect([error.key, error.offset]).toEqual(["general.alignment", bytes.length - 4]);
  });

  it("an alignment that is not a u32", () => {
    const value = { type: "u64", value: 32n } as const;
    const error = refusal(writeGguf({ metadata: [["general.alignment", value]] }).bytes);
    expect(error.message).toContain('"general.alignment" has the type u64, expected u32');
  });

  it("an architecture that is not a string", () => {
    const error = refusal(writeGguf({ metadata: [["general.architecture", u32(7)]] }).bytes);
    expect(error.message).toContain('"general.architecture" has the type u32, expected str');
  });

  it("what is above a limit that the caller set", () => {
    const { bytes } = writeGguf(small);
    const limits = { ...ggufLimits, tensors: 2 };
    expect(() => parseGguf(bytes, bytes.length, "x.gguf", limits)).toThrow("expected at most 2");
  });
});

describe("readGguf()", () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-gguf-"));
  const write = (name: string, bytes: Uint8Array): string => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return path;
  };

  it("reads a file, its header in as many steps as it takes", () => {
    const tokens = Array.from({ length: 30_000 }, (_, i) => `${i}`.padStart(100, "token "));
    const tensors = [{ name: "w", ne: [8] }];
    const { bytes } = writeGguf({
      metadata: [["tokenizer.ggml.tokens", strings(tokens)], ["last", u32(7)]],
      tensors,
    });
    expect(bytes.length).toBeGreaterThan(3_000_000);
    const gguf = readGguf(write("long.gguf", bytes));
    const read = gguf.metadata.strings("tokenizer.ggml.tokens");
    expect(read.length).toBe(30_000);
    expect([read.at(0), read.at(29_999)]).toEqual([tokens[0]!, tokens[29_999]!]);
    expect(gguf.metadata.u32("last")).toBe(7);
    expect(gguf.tensors.get("w")!.offset).toBe(gguf.dataOffset);
  });

  it("refuses a header that is longer than its limit", () => {
    const tokens = Array.from({ length: 30_000 }, () => "x".repeat(100));
    const { bytes } = writeGguf({ metadata: [["tokens", strings(tokens)]] });
    const path = write("limit.gguf", bytes);
    expect(() => readGguf(path, { ...ggufLimits, headerBytes: 2_500_000 }))
      .toThrow("expected a header of at most 2500000 bytes");
  });

  it("names a file that is not there", () => {
    const path = join(folder, "missing.gguf");
    expect(() => readGguf(path)).toThrow(GgufError);
    expect(() => readGguf(path)).toThrow(`Cannot read "${path}": ENOENT`);
  });

  it("refuses a folder", () => {
    expect(() => readGguf(folder)).toThrow(GgufError);
  });

  it("refuses an empty file", () => {
    const path = write("empty.gguf", new Uint8Array());
    expect(() => readGguf(path)).toThrow("the magic number ends at byte 4 and the file has 0");
    rmSync(folder, { recursive: true });
  });
});
