/**
 * Checks a model file's tensors against what the architecture expects, and finds them for the
 * graph.
 *
 * @module
 */
import { GgufError } from "../errors.ts";
import type { Gguf } from "../gguf/reader.ts";
import { tensorTypes } from "../gguf/types.ts";
import type { WeightLookup } from "../graph/record.ts";
import type { ExpectedTensor } from "../models/model.ts";

/**
 * Throws unless every expected tensor is there with its shape.
 *
 * @throws {GgufError} naming the tensor, its shape and the expected one
 */
export function expectTensors(gguf: Gguf, expected: readonly ExpectedTensor[]): void {
  for (const { name, ne, optional } of expected) {
    const tensor = gguf.tensors.get(name);
    if (!tensor) {
      if (optional) continue;
      throw new GgufError(
        `Cannot load "${gguf.file}": tensor "${name}" is missing, expected [${ne.join(", ")}]`,
        gguf.file,
        name,
        0,
      );
    }
    if (tensor.ne.some((n, i) => n !== (ne[i] ?? 1))) {
      throw new GgufError(
        `Cannot load "${gguf.file}": tensor "${name}" has the shape [${
          tensor.ne.join(", ")
        }], expected [${ne.join(", ")}]`,
        gguf.file,
        name,
        tensor.offset,
      );
    }
  }
}

/** How a graph finds a file's weights. */
export function weightLookup(gguf: Gguf): WeightLookup {
  return (name) => {
    const tensor = gguf.tensors.get(name);
    return tensor && { type: tensorTypes.get(tensor.type)!.name, ne: tensor.ne };
  };
}
