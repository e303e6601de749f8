/**
 * A llama of about a billion parameters with random weights, for the shape of larger models: heads
 * of 128, rows that K-quants divide, weights far beyond every cache.
 *
 * It has the vocabulary of another file and says only its plain words, so that every token of an
 * answer is a piece of text whose coming a client sees.
 *
 * @module
 */
import { readGguf } from "../src/gguf/reader.ts";
import type { StringArray } from "../src/gguf/metadata.ts";
import { tensorTypes } from "../src/gguf/types.ts";
import { ggufHeader, numberPair, padding, tensorBytes, textPair } from "../tools/gguf_header.ts";
import { fileTypes, type Quantize, targetTypes, typeNumber } from "../tools/quantize.ts";

/** Sizes of a llama without biases, its embeddings tied. */
export interface LlamaShape {
  readonly n_layer: number;
  readonly n_embd: number;
  readonly n_head: number;
  readonly n_head_kv: number;
  readonly n_ff: number;
}

/** Those of the larger model. */
export const LARGE: LlamaShape = {
  n_layer: 16,
  n_embd: 2048,
  n_head: 16,
  n_head_kv: 4,
  n_ff: 8192,
};

/** Changes with what the same input is made into. */
export const RANDOM_RECIPE = 1;

type Shape = [number, number, number, number];
type Tensors = ReadonlyMap<string, { ne: Shape; type: number }>;

const F32 = 0;
const ALIGNMENT = 32;
const CHUNK_BYTES = 2 ** 22;
/** Distinct blocks of a type; tensors are drawn from them. */
const POOL_BLOCKS = 4096;
const DEVIATION = 0.02;
/** A word as byte-level vocabularies write it, with the space before it. */
const PLAIN = /^\u0120?[A-Za-z]+$/;

/** The tensors that such a model has, before they have types. */
function tensorsOf({ n_layer, n_embd, n_head, n_head_kv, n_ff }: LlamaShape, n_vocab: number) {
  const n_embd_kv = n_embd / n_head * n_head_kv;
  const tensors = new Map<string, { ne: Shape; type: number }>();
  const add = (name: string, ...ne: [number, number]): void => {
    tensors.set(`${name}.weight`, { ne: [...ne, 1, 1], type: F32 });
  };
  add("output_norm", n_embd, 1);
  add("token_embd", n_embd, n_vocab);
  for (let il = 0; il < n_layer; il++) {
    const blk = `blk.${il}`;
    add(`${blk}.attn_norm`, n_embd, 1);
    add(`${blk}.attn_q`, n_embd, n_embd);
    add(`${blk}.attn_k`, n_embd, n_embd_kv);
    add(`${blk}.attn_v`, n_embd, n_embd_kv);
    add(`${blk}.attn_output`, n_embd, n_embd);
    add(`${blk}.ffn_norm`, n_embd, 1);
    add(`${blk}.ffn_gate`, n_embd, n_ff);
    add(`${blk}.ffn_up`, n_embd, n_ff);
    add(`${blk}.ffn_down`, n_ff, n_embd);
  }
  return tensors as Tensors;
}

function metadataOf({ n_layer, n_embd, n_head, n_head_kv, n_ff }: LlamaShape) {
  const numbers = {
    "llama.block_count": n_layer,
    "llama.embedding_length": n_embd,
    "llama.feed_forward_length": n_ff,
    "llama.attention.head_count": n_head,
    "llama.attention.head_count_kv": n_head_kv,
    "llama.rope.dimension_count": n_embd / n_head,
    "general.quantization_version": 2,
    "general.file_type": fileTypes.q4_k_m.number,
  };
  return new Map([
    ...Object.entries(numbers).map(([key, value]) => [key, numberPair(key, value)] as const),
    ["general.name", textPair("general.name", "random llama")],
  ]);
}

/**
 * The bytes of the model in order; each chunk is valid until the next is asked for.
 *
 * @param source a file of the llama architecture, whose vocabulary and templates it gets
 */
export function* randomLlama(
  source: string,
  quantize: Quantize,
  shape: LlamaShape = LARGE,
): Generator<Uint8Array, void, undefined> {
  const { metadata } = readGguf(source);
  const words = metadata.strings("tokenizer.ggml.tokens");
  const tensors = tensorsOf(shape, words.length);
  const types = targetTypes(fileTypes.q4_k_m, tensors);
  const own = metadataOf(shape);
  const kept = [...metadata.entries()].filter(({ key }) =>
    !own.has(key) && key !== "general.alignment"
  );
  const written = [...tensors].map(([name, { ne }]) => {
    return { name, ne, type: typeNumber(types.get(name)!) };
  });
  const pairs = [...kept.map((entry) => metadata.raw(entry)), ...own.values()];
  yield ggufHeader(pairs, written, ALIGNMENT);
  const random = new Random(1);
  const pools = new Map<number, Uint8Array>();
  for (const tensor of written) {
    const { type } = tensor;
    if (type === F32) {
      yield ones(tensor.ne[0]);
    } else {
      let pool = pools.get(type);
      pools.set(type, pool ??= makePool(type, shape.n_embd, random, quantize));
      yield* drawBlocks(pool, tensor, random, tensor.name === "token_embd.weight" ? words : []);
    }
    yield padding(tensorBytes(tensor), ALIGNMENT);
  }
}

function ones(count: number): Uint8Array {
  return new Uint8Array(new Float32Array(count).fill(1).buffer);
}

/** Blocks of values that are spread like those of a trained model, about. */
function makePool(type: number, rowLength: number, random: Random, quantize: Quantize): Uint8Array {
  const rows = Math.ceil(POOL_BLOCKS * tensorTypes.get(type)!.block / rowLength);
  const values = Float32Array.from({ length: rows * rowLength }, () => random.bell() * DEVIATION);
  return quantize(values, type, rowLength).slice();
}

/** Draws a tensor; rows of what is no plain word are zeros, so that it is never the likeliest. */
function* drawBlocks(
  pool: Uint8Array,
  { ne, type }: { ne: Shape; type: number },
  random: Random,
  words: StringArray | readonly [],
): Generator<Uint8Array, void, undefined> {
  const { block, bytes } = tensorTypes.get(type)!;
  const rowBytes = ne[0] / block * bytes;
  const rowsAtOnce = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes));
  const chunk = new Uint8Array(rowsAtOnce * rowBytes);
  const blocks = pool.length / bytes;
  for (let first = 0; first < ne[1]; first += rowsAtOnce) {
    const rows = Math.min(rowsAtOnce, ne[1] - first);
    for (let row = 0; row < rows; row++) {
      const start = row * rowBytes;
      if (words.length > 0 && !PLAIN.test(words.at(first + row)!)) {
        chunk.fill(0, start, start + rowBytes);
        continue;
      }
      for (let at = start; at < start + rowBytes; at += bytes) {
        const from = random.below(blocks) * bytes;
        chunk.set(pool.subarray(from, from + bytes), at);
      }
    }
    yield chunk.subarray(0, rows * rowBytes);
  }
}

/** Marsaglia's xorshift: the same numbers on every machine. */
class Random {
  #state: number;

  /** @param seed from 1 up */
  constructor(seed: number) {
    this.#state = seed;
  }

  #next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return state >>> 0;
  }

  /** An integer from 0 to `count`, exclusive. */
  below(count: number): number {
    return this.#next() % count;
  }

  /** Of mean 0 and deviation 1, close to the normal distribution: a sum of twelve. */
  bell(): number {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += this.#next() / 2 ** 32;
    return sum;
  }
}
