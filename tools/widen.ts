/**
 * Widens the weights of a GGUF file to F32, for tests that compare a graph without quantization.
 *
 * `widen.ts IN OUT` writes what llama.cpp's quantize to F32 writes, byte for byte, a few
 * megabytes at a time.
 *
 * @module
 */
import { closeSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import process from "node:process";
import { ModelError } from "../src/errors.ts";
import { type Gguf, readGguf, type TensorInfo } from "../src/gguf/reader.ts";
import { tensorTypes } from "../src/gguf/types.ts";

/** Turns blocks of one type into floats. */
type Decode = (bytes: Uint8Array, out: Float32Array) => void;

const ALIGNMENT = 32;
const CHUNK = 4 * 2 ** 20;
/** ggml's version of the formats of blocks. */
const QUANTIZATION_VERSION = 2;
const F32 = 0;
/** Set anew at the end, or meaningless in a file that is whole. */
const dropped = new Set([
  "general.quantization_version",
  "general.file_type",
  "split.no",
  "split.count",
  "split.tensors.count",
]);

/**
 * Widens `input` and writes `output`, which is complete or not there.
 *
 * @throws {GgufError | ModelError} when the file is damaged or holds a type that cannot be widened
 */
export function widen(input: string, output: string): void {
  const part = `${output}.part`;
  const fd = openSync(part, "w");
  try {
    for (const bytes of widened(input)) {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
    }
    renameSync(part, output);
  } finally {
    closeSync(fd);
    rmSync(part, { force: true });
  }
}

/** The bytes of the widened file in order; each chunk is valid until the next is asked for. */
export function* widened(input: string): Generator<Uint8Array, void, undefined> {
  const gguf = readGguf(input);
  const alignment = gguf.metadata.u32("general.alignment", ALIGNMENT);
  const tensors = [...gguf.tensors.values()].sort(byLayer);
  for (const { name, type } of tensors) {
    const typeName = tensorTypes.get(type)!.name;
    if (type === F32 || decoders.has(typeName)) continue;
    const known = [...decoders.keys()].join(", ");
    throw new ModelError(
      `Cannot widen "${input}": tensor "${name}" has the type ${typeName}, expected one of ${known}`,
    );
  }
  const header = writeHeader(gguf, tensors, alignment);
  yield header;
  yield padding(header.length, alignment);
  const fd = openSync(input, "r");
  try {
    for (const tensor of tensors) {
      yield* widenTensor(fd, tensor);
      yield padding(widenedSize(tensor), alignment);
    }
  } finally {
    closeSync(fd);
  }
}

function* widenTensor(fd: number, tensor: TensorInfo): Generator<Uint8Array, void, undefined> {
  const layout = tensorTypes.get(tensor.type)!;
  const decode = decoders.get(layout.name);
  const blocks = Math.min(Math.floor(CHUNK / (4 * layout.block)), tensor.size / layout.bytes);
  const source = new Uint8Array(blocks * layout.bytes);
  const floats = new Float32Array(blocks * layout.block);
  for (let done = 0; done < tensor.size;) {
    const length = Math.min(source.length, tensor.size - done);
    const bytes = source.subarray(0, length);
    for (let read = 0; read < length;) {
      const count = readSync(fd, bytes, read, length - read, tensor.offset + done + read);
      if (count === 0) throw new ModelError(`Cannot widen: tensor "${tensor.name}" is cut off`);
      read += count;
    }
    done += length;
    if (decode) {
      const out = floats.subarray(0, (length / layout.bytes) * layout.block);
      decode(bytes, out);
      yield new Uint8Array(out.buffer, 0, out.byteLength);
    } else {
      yield bytes;
    }
  }
}

/** llama.cpp's order: what belongs to no layer, then layer by layer, by name. */
function byLayer(a: TensorInfo, b: TensorInfo): number {
  const layer = ({ name }: TensorInfo): number => Number(/^blk\.(\d+)/.exec(name)?.[1] ?? -1);
  return layer(a) - layer(b) || (a.name < b.name ? -1 : 1);
}

function widenedSize({ ne }: TensorInfo): number {
  return 4 * ne[0] * ne[1] * ne[2] * ne[3];
}

function writeHeader(
  { metadata }: Gguf,
  tensors: readonly TensorInfo[],
  alignment: number,
): Uint8Array {
  const parts: Uint8Array[] = [];
  const pairs = [...metadata.entries()].filter(({ key }) => !dropped.has(key));
  parts.push(text("GGUF"), u32(3), u64(tensors.length), u64(pairs.length + 2));
  for (const pair of pairs) parts.push(metadata.raw(pair));
  const u32Type = u32(4);
  parts.push(name("general.quantization_version"), u32Type, u32(QUANTIZATION_VERSION));
  parts.push(name("general.file_type"), u32Type, u32(F32));
  let offset = 0;
  for (const tensor of tensors) {
    const dimensions = tensor.ne.findLastIndex((n) => n > 1) + 1 || 1;
    parts.push(name(tensor.name), u32(dimensions));
    parts.push(...tensor.ne.slice(0, dimensions).map(u64), u32(F32), u64(offset));
    const size = widenedSize(tensor);
    offset += size + padding(size, alignment).length;
  }
  return join(parts);
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function padding(size: number, alignment: number): Uint8Array {
  return new Uint8Array((alignment - (size % alignment)) % alignment);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function name(value: string): Uint8Array {
  const bytes = text(value);
  return join([u64(bytes.length), bytes]);
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

/** Every f16 as a float. */
const halves = new Float32Array(
  new Float16Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer),
);

/** The f16 at a place. */
function f16(bytes: Uint8Array, at: number): number {
  return halves[bytes[at]! | (bytes[at + 1]! << 8)]!;
}

/**
 * The formulas of ggml-quants.c. A product of these few bits is exact: only the store rounds, as
 * in C.
 */
const decoders: ReadonlyMap<string, Decode> = new Map<string, Decode>([
  ["f16", (bytes, out) => {
    for (let i = 0; i < out.length; i++) out[i] = f16(bytes, 2 * i);
  }],
  ["bf16", (bytes, out) => {
    const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < out.length; i++) {
      bits[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
    }
  }],
  ["q4_0", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 18, y += 32) {
      const d = f16(bytes, at);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 2 + i]!;
        out[y + i] = ((q & 15) - 8) * d;
        out[y + 16 + i] = ((q >> 4) - 8) * d;
      }
    }
  }],
  ["q4_1", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 20, y += 32) {
      const d = f16(bytes, at);
      const m = f16(bytes, at + 2);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 4 + i]!;
        out[y + i] = (q & 15) * d + m;
        out[y + 16 + i] = (q >> 4) * d + m;
      }
    }
  }],
  ["q5_0", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 22, y += 32) {
      const d = f16(bytes, at);
      const high = u32At(bytes, at + 2);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 6 + i]!;
        out[y + i] = ((q & 15) + ((high >>> i) & 1) * 16 - 16) * d;
        out[y + 16 + i] = ((q >> 4) + ((high >>> (i + 16)) & 1) * 16 - 16) * d;
      }
    }
  }],
  ["q5_1", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 24, y += 32) {
      const d = f16(bytes, at);
      const m = f16(bytes, at + 2);
      const high = u32At(bytes, at + 4);
      for (let i = 0; i < 16; i++) {
        const q = bytes[at + 8 + i]!;
        out[y + i] = ((q & 15) + ((high >>> i) & 1) * 16) * d + m;
        out[y + 16 + i] = ((q >> 4) + ((high >>> (i + 16)) & 1) * 16) * d + m;
      }
    }
  }],
  ["q8_0", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 34, y += 32) {
      const d = f16(bytes, at);
      for (let i = 0; i < 32; i++) out[y + i] = i8(bytes[at + 2 + i]!) * d;
    }
  }],
  ["q6_K", (bytes, out) => {
    for (let at = 0, y = 0; y < out.length; at += 210, y += 256) {
      const d = f16(bytes, at + 208);
      for (let i = 0; i < 256; i++) {
        // 128 values share 64 bytes of low halves and 32 bytes of high quarters.
        const half = i >> 7;
        const quarter = (i >> 5) & 3;
        const low = bytes[at + 64 * half + 32 * (quarter & 1) + (i & 31)]! >> (quarter & 2 ? 4 : 0);
        const high = bytes[at + 128 + 32 * half + (i & 31)]! >> (2 * quarter);
        const q = ((low & 15) | ((high & 3) << 4)) - 32;
        const scale = i8(bytes[at + 192 + (i >> 4)]!);
        out[y + i] = d * scale * q;
      }
    }
  }],
]);

function i8(byte: number): number {
  return (byte << 24) >> 24;
}

function u32At(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

if (import.meta.main) {
  const [input, output] = process.argv.slice(2);
  if (input === undefined || output === undefined) {
    process.stderr.write("Usage: widen.ts IN OUT\n");
    process.exitCode = 2;
  } else {
    widen(input, output);
  }
}
