/**
 * What a model asks of a machine: bytes to read for a token, operations for a token of a prompt,
 * memory for its file and its cache. Read from the header of its file.
 *
 * @module
 */
import type { Gguf, TensorInfo } from "../src/gguf/reader.ts";
import { tensorTypes } from "../src/gguf/types.ts";

/** The work of a dense model of the llama architecture. */
export interface Work {
  /** Bytes of the file. */
  readonly fileBytes: number;
  /** Bytes of the weights that each step of decoding reads, the head once. */
  readonly weightBytes: number;
  /** Bytes of the keys and values of one token, in floats of 16 bits. */
  readonly cacheBytes: number;
  /**
   * Operations of the linear layers for one token of a prompt; a product with its addition is two.
   * The head is not counted: only the last token needs it.
   */
  readonly linearOps: number;
  /** What most of these multiply: codes of at most four bits, other integers, or floats. */
  readonly weights: "codes" | "bytes" | "floats";
}

const FLOATS = new Set(["f32", "f16", "bf16"]);
/** Types whose codes are multiplied as they are, without a table. */
const CODES = new Set(["q4_0", "q4_1", "q4_K", "q2_K", "tq1_0", "tq2_0"]);

/** The work of the model in a file. */
export function workOf({ fileSize, metadata, tensors }: Gguf): Work {
  const head = tensors.has("output.weight") ? "output.weight" : "token_embd.weight";
  const all = [...tensors.values()];
  const sum = (items: readonly TensorInfo[], of: (tensor: TensorInfo) => number): number =>
    items.reduce((total, tensor) => total + of(tensor), 0);
  // Of embeddings that are not the head a step reads one row.
  const read = all.filter(({ name }) => name === head || name !== "token_embd.weight");
  const linear = all.filter(({ name, ne }) => name.startsWith("blk.") && ne[1] > 1);
  const ops = ({ ne }: TensorInfo): number => 2 * ne[0] * ne[1];
  const linearOps = sum(linear, ops);
  const isMostOf = (types: ReadonlySet<string>): boolean => {
    const some = linear.filter(({ type }) => types.has(tensorTypes.get(type)!.name));
    return sum(some, ops) >= linearOps / 2;
  };
  const embedding = metadata.u32("llama.embedding_length");
  const heads = metadata.u32("llama.attention.head_count");
  const kvHeads = metadata.u32("llama.attention.head_count_kv", heads);
  const headSize = metadata.u32("llama.attention.key_length", embedding / heads);
  return {
    fileBytes: fileSize,
    weightBytes: sum(read, ({ size }) => size),
    cacheBytes: 2 * 2 * kvHeads * headSize * metadata.u32("llama.block_count"),
    linearOps,
    weights: isMostOf(FLOATS) ? "floats" : isMostOf(CODES) ? "codes" : "bytes",
  };
}
