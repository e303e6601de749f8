/**
 * Widens the weights of a GGUF file to F32, for tests that compare a graph without quantization.
 *
 * `widen.ts IN OUT` writes what llama.cpp's quantize to F32 writes, byte for byte.
 *
 * @module
 */
import process from "node:process";
import { copied, type Recipe, writeWhole } from "./gguf_copy.ts";

const F32 = 0;

const recipe: Recipe = {
  fileType: 0,
  typeOf: () => F32,
  encode: ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
};

/**
 * Widens `input` and writes `output`, which is complete or not there.
 *
 * @throws {GgufError | ModelError} when the file is damaged or holds a type that cannot be widened
 */
export async function widen(input: string, output: string): Promise<void> {
  await writeWhole(output, widened(input));
}

/** The bytes of the widened file in order; each chunk is valid until the next is asked for. */
export function widened(input: string): Generator<Uint8Array, void, undefined> {
  return copied(input, () => recipe);
}

if (import.meta.main) {
  const [input, output] = process.argv.slice(2);
  if (input === undefined || output === undefined) {
    process.stderr.write("Usage: widen.ts IN OUT\n");
    process.exitCode = 2;
  } else {
    await widen(input, output);
  }
}
