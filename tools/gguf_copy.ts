/**
 * Copies a GGUF file with other types of tensors, in the order and with the metadata that
 * llama.cpp's quantize would write, a few megabytes at a time.
 *
 * @module
 */
import { closeSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { ModelError } from "../src/errors.ts";
import { readGguf, type TensorInfo } from "../src/gguf/reader.ts";
import { tensorTypes } from "../src/gguf/types.ts";
import { decoders } from "./block_decoders.ts";
import { ggufHeader, numberPair, padding, tensorBytes } from "./gguf_header.ts";

/** What becomes of a file. */
export interface Recipe {
  /** Number of `enum llama_ftype`. */
  readonly fileType: number;
  /** The type that a tensor gets; its own type leaves its bytes alone. */
  typeOf(tensor: TensorInfo): number;
  /**
   * Floats as blocks of a type.
   *
   * @param values whole rows; read before the call returns
   * @returns valid until the next call
   */
  encode(values: Float32Array, type: number, rowLength: number): Uint8Array;
}

const ALIGNMENT = 32;
const CHUNK_FLOATS = 2 ** 20;
const REST_BYTES = 2 ** 24;
/** ggml's version of the formats of blocks. */
const QUANTIZATION_VERSION = 2;
/** Set anew at the end, or meaningless in a file that is whole. */
const dropped = new Set([
  "general.quantization_version",
  "general.file_type",
  "split.no",
  "split.count",
  "split.tensors.count",
]);

/**
 * The bytes of the copy in order; each chunk is valid until the next is asked for.
 *
 * @throws {GgufError | ModelError} when the file is damaged or holds a type that cannot be decoded
 */
export function* copied(
  input: string,
  recipe: (tensors: ReadonlyMap<string, TensorInfo>) => Recipe,
): Generator<Uint8Array, void, undefined> {
  const gguf = readGguf(input);
  const alignment = gguf.metadata.u32("general.alignment", ALIGNMENT);
  const { fileType, typeOf, encode } = recipe(gguf.tensors);
  const tensors = [...gguf.tensors.values()].sort(byLayer);
  const written = tensors.map((tensor) => ({ ...tensor, type: typeOf(tensor) }));
  tensors.forEach((tensor, at) => checkDecoder(input, tensor, written[at]!.type));
  const kept = [...gguf.metadata.entries()].filter(({ key }) => !dropped.has(key));
  const pairs = [
    ...kept.map((entry) => gguf.metadata.raw(entry)),
    numberPair("general.quantization_version", QUANTIZATION_VERSION),
    numberPair("general.file_type", fileType),
  ];
  yield ggufHeader(pairs, written, alignment);
  const fd = openSync(input, "r");
  try {
    for (const [at, tensor] of tensors.entries()) {
      const { type, ne } = written[at]!;
      for (const bytes of readTensor(fd, tensor)) {
        if (type === tensor.type) yield bytes;
        else yield encode(decode(bytes, tensor.type), type, ne[0]);
      }
      yield padding(tensorBytes({ ne, type }), alignment);
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes chunks into a file that is complete or not there.
 *
 * @param onBytes told how many bytes are written
 */
export async function writeWhole(
  output: string,
  chunks: Iterable<Uint8Array>,
  onBytes: (done: number) => void = () => undefined,
): Promise<void> {
  const part = `${output}.part`;
  const fd = openSync(part, "w");
  let written = 0;
  try {
    for (const bytes of chunks) {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
      const rests = written % REST_BYTES + bytes.length >= REST_BYTES;
      written += bytes.length;
      onBytes(written);
      // Who shows the progress wants a turn.
      if (rests) await setImmediate();
    }
    renameSync(part, output);
  } finally {
    closeSync(fd);
    rmSync(part, { force: true });
  }
}

function checkDecoder(file: string, { name, type }: TensorInfo, target: number): void {
  const typeName = tensorTypes.get(type)!.name;
  if (type === target || typeName === "f32" || decoders.has(typeName)) return;
  const known = [...decoders.keys()].join(", ");
  throw new ModelError(
    `Cannot convert "${file}": tensor "${name}" has the type ${typeName}, expected one of ${known}`,
  );
}

/** The bytes of a tensor in pieces of whole rows. */
function* readTensor(fd: number, tensor: TensorInfo): Generator<Uint8Array, void, undefined> {
  const [n] = tensor.ne;
  const rowBytes = tensorBytes({ ne: [n], type: tensor.type });
  const piece = rowBytes * Math.max(1, Math.floor(CHUNK_FLOATS / n));
  const buffer = new Uint8Array(Math.min(piece, tensor.size));
  for (let done = 0; done < tensor.size;) {
    const bytes = buffer.subarray(0, Math.min(piece, tensor.size - done));
    for (let read = 0; read < bytes.length;) {
      const count = readSync(fd, bytes, read, bytes.length - read, tensor.offset + done + read);
      if (count === 0) throw new ModelError(`Cannot convert: tensor "${tensor.name}" is cut off`);
      read += count;
    }
    done += bytes.length;
    yield bytes;
  }
}

function decode(bytes: Uint8Array, type: number): Float32Array {
  const layout = tensorTypes.get(type)!;
  const length = bytes.length / layout.bytes * layout.block;
  if (layout.name === "f32") return new Float32Array(bytes.buffer, bytes.byteOffset, length);
  const out = new Float32Array(length);
  decoders.get(layout.name)!(bytes, out);
  return out;
}

/** llama.cpp's order: what belongs to no layer, then layer by layer, by name. */
function byLayer(a: TensorInfo, b: TensorInfo): number {
  const layer = ({ name }: TensorInfo): number => Number(/^blk\.(\d+)/.exec(name)?.[1] ?? -1);
  return layer(a) - layer(b) || (a.name < b.name ? -1 : 1);
}
