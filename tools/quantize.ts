/**
 * Quantizes the weights of a GGUF file, for benches that need one model in several types.
 *
 * `quantize.ts IN OUT TYPE` gives each tensor the type that llama.cpp's quantize gives it in a
 * dense model of the llama architecture, by ggml's own functions. Tensors that have the type
 * already are copied; others that are quantized lose a little more.
 *
 * @module
 */
import process from "node:process";
import { LibraryError, ModelError } from "../src/errors.ts";
import { findLibrary } from "../src/ggml/library.ts";
import type { TensorInfo } from "../src/gguf/reader.ts";
import { tensorTypes } from "../src/gguf/types.ts";
import type { Functions } from "../src/runtime/ffi.ts";
import { loadFfi } from "../src/runtime/mod.ts";
import { copied, type Recipe, writeWhole } from "./gguf_copy.ts";
import { tensorBytes } from "./gguf_header.ts";

/** A way to quantize a whole file. */
export interface FileType {
  /** Number of `enum llama_ftype`. */
  readonly number: number;
  /** ggml's name of the type that most tensors get. */
  readonly base: string;
  /** Whether some layers of `attn_v` and `ffn_down` get q6_K instead. */
  readonly mixed?: boolean;
}

/** The ways that this tool knows, by the names that people write. */
export const fileTypes = {
  f16: { number: 1, base: "f16" },
  q4_0: { number: 2, base: "q4_0" },
  q4_1: { number: 3, base: "q4_1" },
  q8_0: { number: 7, base: "q8_0" },
  q5_0: { number: 8, base: "q5_0" },
  q5_1: { number: 9, base: "q5_1" },
  q4_k_m: { number: 15, base: "q4_K", mixed: true },
  q5_k_m: { number: 17, base: "q5_K", mixed: true },
  q6_k: { number: 18, base: "q6_K" },
} satisfies Record<string, FileType>;

/** Name of a file type. */
export type FileTypeName = keyof typeof fileTypes;

/** Floats as blocks of a type, by ggml's own function; what it gives is valid until the next. */
export type Quantize = Recipe["encode"];

/** What a type gives way to where its blocks do not divide the rows. */
const fallbacks: Readonly<Record<string, string>> = { q4_K: "q5_0", q5_K: "q5_1", q6_K: "q8_0" };

const symbols = {
  // size_t ggml_quantize_chunk(enum ggml_type type, const float * src, void * dst, int64_t start,
  //                            int64_t nrows, int64_t n_per_row, const float * imatrix)
  ggml_quantize_chunk: {
    args: ["i32", "buffer", "buffer", "i64", "i64", "i64", "pointer"],
    returns: "i64",
  },
} as const;

/**
 * ggml's name of the type that each tensor of a dense llama gets.
 *
 * @param tensors all tensors of the file
 */
export function targetTypes(
  { base, mixed = false }: FileType,
  tensors: ReadonlyMap<string, Pick<TensorInfo, "ne" | "type">>,
): Map<string, string> {
  const layers = [...tensors.keys()].filter((name) => name.endsWith("ffn_down.weight")).length;
  const head = tensors.has("output.weight") ? "output.weight" : "token_embd.weight";
  return new Map([...tensors].map(([name, { ne, type }]) => {
    if (!isQuantized(name, ne)) return [name, tensorTypes.get(type)!.name];
    if (base === "f16") return [name, base];
    const fine = name === head ? base !== "q8_0" : mixed && hasMoreBits(name, layers);
    const wanted = fine ? "q6_K" : base;
    const fits = (typeName: string): boolean => ne[0] % blockOf(typeName) === 0;
    if (fits(wanted)) return [name, wanted];
    const fallback = fallbacks[wanted] ?? "f16";
    return [name, fits(fallback) ? fallback : "f16"];
  }));
}

/** Matrices of weights are; norms, and what chooses experts, are not. */
function isQuantized(name: string, ne: TensorInfo["ne"]): boolean {
  return ne.findLastIndex((n) => n > 1) > 0 && name.endsWith("weight") &&
    !name.includes("_norm.weight") && !name.includes("ffn_gate_inp.weight");
}

/** The first and the last eighth of the layers, and every third between, have more to lose. */
function hasMoreBits(name: string, layers: number): boolean {
  const layer = Number(/^blk\.(\d+)\.(?:attn_v|ffn_down)\.weight$/.exec(name)?.[1] ?? -1);
  if (layer < 0) return false;
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor(7 * layers / 8) || (layer - eighth) % 3 === 2;
}

/** Number of a type that has this name. */
export function typeNumber(name: string): number {
  for (const [number, type] of tensorTypes) if (type.name === name) return number;
  throw new RangeError(`Cannot find the tensor type ${name}: no such type`);
}

function blockOf(name: string): number {
  return tensorTypes.get(typeNumber(name))!.block;
}

/**
 * Opens ggml's function.
 *
 * @throws {LibraryError} when the library is missing
 */
export async function openQuantizer(): Promise<Quantize> {
  const path = await findLibrary();
  const ffi = await loadFfi();
  let functions: Functions<typeof symbols>;
  try {
    functions = ffi.open(path, symbols).symbols;
  } catch (cause) {
    const { message } = cause as Error;
    throw new LibraryError(`Cannot quantize with "${path}": ${message}, build it again`, { cause });
  }
  let out = new Uint8Array(0);
  return (values, type, rowLength) => {
    const rows = values.length / rowLength;
    const size = tensorBytes({ ne: [rowLength, rows], type });
    if (out.length < size) out = new Uint8Array(size);
    const [n_rows, n_per_row] = [BigInt(rows), BigInt(rowLength)];
    const written = functions.ggml_quantize_chunk(type, values, out, 0n, n_rows, n_per_row, null);
    if (Number(written) === size) return out.subarray(0, size);
    throw new LibraryError(`Cannot quantize: ggml wrote ${written} bytes, expected ${size}`);
  };
}

/**
 * The bytes of the quantized file in order; each chunk is valid until the next is asked for.
 *
 * @throws {GgufError | ModelError} when the file is damaged or holds a type that cannot be decoded
 */
export function quantized(
  input: string,
  fileType: FileTypeName,
  quantize: Quantize,
): Generator<Uint8Array, void, undefined> {
  return copied(input, (tensors) => {
    const types = targetTypes(fileTypes[fileType], tensors);
    const typeOf = ({ name }: TensorInfo): number => typeNumber(types.get(name)!);
    return { fileType: fileTypes[fileType].number, typeOf, encode: quantize };
  });
}

/** Whether a file type of this name is known. */
export function isFileType(name: string): name is FileTypeName {
  return Object.hasOwn(fileTypes, name);
}

async function main([input, output, name = ""]: string[]): Promise<void> {
  if (input === undefined || output === undefined || !isFileType(name)) {
    process.stderr.write(`Usage: quantize.ts IN OUT ${Object.keys(fileTypes).join("|")}\n`);
    process.exitCode = 2;
    return;
  }
  try {
    await writeWhole(output, quantized(input, name, await openQuantizer()));
  } catch (error) {
    if (!(error instanceof ModelError || error instanceof LibraryError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}

if (import.meta.main) await main(process.argv.slice(2));
