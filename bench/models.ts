/**
 * The model files that a bench runs: the real one as it comes, in other types, and a larger one
 * with random weights. What is made lies in the cache under a key of what made it.
 *
 * @module
 */
import { existsSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { cacheFolder } from "../src/store/cache.ts";
import { resolveModel } from "../src/store/reference.ts";
import { writeWhole } from "../tools/gguf_copy.ts";
import { type FileTypeName, openQuantizer, type Quantize, quantized } from "../tools/quantize.ts";
import { setUp } from "../tools/setup.ts";
import { fileHash, sha256 } from "../tools/setup/hash.ts";
import { defaultModel, model as realModel } from "../tools/setup/model.ts";
import { RANDOM_RECIPE, randomLlama } from "./random_model.ts";
import { make, type Workshop } from "./workshop.ts";

/** A file to run. */
export interface BenchModel {
  /** Name for `--model`. */
  readonly name: string;
  readonly path: string;
}

/** How a file is made of the real model. */
interface Making {
  /** End of the file's name. */
  readonly label: string;
  /** Changes with what the same input is made into. */
  readonly recipe: number;
  readonly bytes: (source: string, quantize: Quantize) => Iterable<Uint8Array>;
}

const TYPES_RECIPE = 1;

/** The real model with other types, by the names that people write; without the type it has. */
const OTHER_TYPES: readonly FileTypeName[] = ["q4_0", "q8_0", "q4_k_m", "f16"];
const REAL = "q4_1";
const RANDOM = "1b";

/** Every name for `--model` besides paths, the default first. */
export const modelNames: readonly string[] = [REAL, ...OTHER_TYPES, RANDOM];

function makingOf(name: string): Making | undefined {
  if (name === RANDOM) {
    return { label: "Random-1B.Q4_K_M", recipe: RANDOM_RECIPE, bytes: randomLlama };
  }
  const type = OTHER_TYPES.find((each) => each === name);
  return type && {
    label: `SmolLM2-135M-Instruct.${type.toUpperCase()}`,
    recipe: TYPES_RECIPE,
    bytes: (source, quantize) => quantized(source, type, quantize),
  };
}

/**
 * Finds a model, or makes it where it is not yet in the cache.
 *
 * @param name one of {@link modelNames}, `smollm2`, or a path
 * @throws {ModelError} when it is none of them, or the real model is missing
 */
export async function prepareModel(name: string, workshop: Workshop): Promise<BenchModel> {
  const making = makingOf(name);
  if (making === undefined) {
    const { path } = resolveModel(name === REAL ? defaultModel : name);
    return { name: name === defaultModel ? REAL : basename(name), path };
  }
  const { root, output } = workshop;
  const step = { steps: [realModel], offline: false, root, cache: cacheFolder(), output };
  await setUp(step);
  const source = resolveModel(defaultModel).path;
  const folder = join(cacheFolder(), "bench");
  const key = sha256(JSON.stringify([await fileHash(source), name, making.recipe])).slice(0, 16);
  const path = join(folder, `${making.label}.${key}.gguf`);
  if (existsSync(path)) return { name, path };
  await make(name, folder, workshop, async ({ temp, signal }, bar) => {
    if (existsSync(path)) return;
    bar.phase("writing");
    const half = join(temp, basename(path));
    await writeWhole(half, making.bytes(source, await openQuantizer()), (done) => {
      signal.throwIfAborted();
      bar.set(done);
    });
    renameSync(half, path);
  });
  return { name, path };
}
