/**
 * Writes the header of a GGUF file: metadata pairs and the index of its tensors.
 *
 * @module
 */
import { tensorTypes } from "../src/gguf/types.ts";

/** A tensor that a file will hold. */
export interface WrittenTensor {
  readonly name: string;
  /** Number of `enum ggml_type`. */
  readonly type: number;
  /** Sizes in ggml order; unused ones are 1. */
  readonly ne: readonly number[];
}

const VERSION = 3;
const STRING = 8;
const U32 = 4;

/** Bytes of a tensor's data, without the padding behind it. */
export function tensorBytes({ ne, type }: Omit<WrittenTensor, "name">): number {
  const { block, bytes } = tensorTypes.get(type)!;
  return ne.reduce((product, n) => product * n, 1) / block * bytes;
}

/** What stands between some bytes and the next tensor. */
export function padding(size: number, alignment: number): Uint8Array {
  return new Uint8Array((alignment - (size % alignment)) % alignment);
}

/** A metadata pair with a number. */
export function numberPair(key: string, value: number): Uint8Array {
  return join([text(key), u32(U32), u32(value)]);
}

/** A metadata pair with a text. */
export function textPair(key: string, value: string): Uint8Array {
  return join([text(key), u32(STRING), text(value)]);
}

/**
 * A header with the padding behind it. The tensors' data follow in this order, each with its
 * padding.
 *
 * @param pairs whole metadata pairs, keys and types included
 */
export function ggufHeader(
  pairs: readonly Uint8Array[],
  tensors: readonly WrittenTensor[],
  alignment: number,
): Uint8Array {
  const parts = [new TextEncoder().encode("GGUF"), u32(VERSION)];
  parts.push(u64(tensors.length), u64(pairs.length), ...pairs);
  let offset = 0;
  for (const tensor of tensors) {
    const dimensions = tensor.ne.findLastIndex((n) => n > 1) + 1 || 1;
    parts.push(text(tensor.name), u32(dimensions));
    parts.push(...tensor.ne.slice(0, dimensions).map(u64), u32(tensor.type), u64(offset));
    const size = tensorBytes(tensor);
    offset += size + padding(size, alignment).length;
  }
  const header = join(parts);
  return join([header, padding(header.length, alignment)]);
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

function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return join([u64(bytes.length), bytes]);
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}
