/**
 * What a user calls a model, turned into the file that holds it. Fetches nothing.
 *
 * @module
 */
import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { ModelError } from "../errors.ts";
import { modelsFolder } from "./cache.ts";

/** A model that the set-up can fetch. */
export interface KnownModel {
  /** File name in the cache's folder of models. */
  readonly file: string;
  /** Size of the file in bytes. */
  readonly bytes: number;
  /** Hash of the file, lower-case hex. */
  readonly sha256: string;
}

/** Models that have a name of their own. */
export const knownModels: Readonly<Record<string, KnownModel>> = {
  smollm2: {
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
  },
};

/** A model file on this machine. */
export interface ResolvedModel {
  /** Absolute path of the GGUF file. */
  readonly path: string;
  /** Name that answers and logs use for the model. */
  readonly id: string;
}

/**
 * Finds the file of a model.
 *
 * @param ref a known name such as `smollm2`, or the path of a GGUF file
 * @throws {ModelError} when the file is not there
 */
export function resolveModel(ref: string): ResolvedModel {
  const known = Object.hasOwn(knownModels, ref) ? knownModels[ref] : undefined;
  if (known !== undefined) {
    const path = join(modelsFolder(), known.file);
    if (existsSync(path) && statSync(path).size === known.bytes) return { path, id: ref };
    throw new ModelError(
      `Cannot load model "${ref}": ${path} is missing or incomplete, run the set-up first: bun run setup`,
      { hints: ["Run `bun run setup` or `deno task setup`."] },
    );
  }
  const path = resolve(ref);
  if (existsSync(path) && statSync(path).isFile()) {
    return { path, id: basename(path).replace(/\.gguf$/i, "") };
  }
  const names = Object.keys(knownModels).join(", ");
  throw new ModelError(
    `Cannot load model "${ref}": no file at ${path}, expected the path of a GGUF file or one of: ${names}`,
  );
}
