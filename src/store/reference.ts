/**
 * What a user calls a model, turned into the file that holds it. Fetches nothing.
 *
 * @module
 */
import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { ModelError } from "../errors.ts";
import { hubFolder, modelsFolder } from "./cache.ts";
import { chooseGguf, matchGgufs } from "./gguf_choice.ts";
import { HubCache } from "./hub_cache.ts";

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

/** A file of a repository on the hub: of a quantization, by its path, or the usual one. */
export interface HubReference {
  readonly kind: "hub";
  /** `owner/repo`. */
  readonly repo: string;
  readonly quant?: string;
  /** Path inside the repository. */
  readonly file?: string;
}

/** What a user can call a model. */
export type Reference =
  | { readonly kind: "known"; readonly name: string; readonly model: KnownModel }
  | HubReference
  | { readonly kind: "path"; readonly path: string };

const HUB = "hf:";
/** A name on the hub; two hyphens separate names in its cache. */
const NAME = /^(?!.*(?:--|\.\.))[a-z0-9](?:[\w.-]{0,94}[\w])?$/i;
const QUANT = /^[a-z0-9][\w.-]{0,31}$/i;

/** Whether a path of a repository stays inside whatever folder it is put into. */
export function isInnerPath(path: string): boolean {
  // deno-lint-ignore no-control-regex -- a file name may hold none
  if (path.length > 512 || /[\\\x00-\x1f\x7f]/.test(path)) return false;
  return path.split("/").every((name) => name !== "" && name !== "." && name !== "..");
}

/**
 * Reads a reference.
 *
 * @throws {ModelError} when it begins with `hf:` and is malformed; anything else is a path
 */
export function parseReference(ref: string): Reference {
  const model = Object.hasOwn(knownModels, ref) ? knownModels[ref] : undefined;
  if (model !== undefined) return { kind: "known", name: ref, model };
  return ref.startsWith(HUB) ? parseHub(ref) : { kind: "path", path: resolve(ref) };
}

function parseHub(ref: string): HubReference {
  const [owner = "", name = "", ...rest] = ref.slice(HUB.length).split("/");
  const file = rest.join("/");
  const [repo = "", quant, ...more] = file === "" ? name.split(":") : [name];
  const fits = NAME.test(owner) && NAME.test(repo) && more.length === 0 &&
    (quant === undefined || QUANT.test(quant)) &&
    (rest.length === 0 || (isInnerPath(file) && /\.gguf$/i.test(file)));
  if (!fits) {
    throw new ModelError(
      `Cannot use the model reference ${JSON.stringify(ref.slice(0, 200))}: expected ` +
        "hf:owner/repo, hf:owner/repo:QUANT or hf:owner/repo/FILE.gguf",
    );
  }
  return {
    kind: "hub",
    repo: `${owner}/${repo}`,
    ...(quant !== undefined && { quant }),
    ...(file !== "" && { file }),
  };
}

/** The model that a file holds: its name without the ending names it. */
export function modelAt(path: string): ResolvedModel {
  return { path, id: basename(path).replace(/\.gguf$/i, "") };
}

/** The file of a known model in a folder of models, where it is there and whole. */
export function knownModelAt(
  name: string,
  model: KnownModel,
  folder: string = modelsFolder(),
): ResolvedModel | undefined {
  const path = join(folder, model.file);
  const isWhole = existsSync(path) && statSync(path).size === model.bytes;
  return isWhole ? { path, id: name } : undefined;
}

/**
 * Finds the file of a model.
 *
 * @param ref a known name such as `smollm2`, the path of a GGUF file, or `hf:owner/repo[:quant]`
 * or `hf:owner/repo/file.gguf` for one that was pulled
 * @throws {ModelError} when the file is not there
 */
export function resolveModel(ref: string): ResolvedModel {
  const reference = parseReference(ref);
  if (reference.kind === "known") {
    const found = knownModelAt(reference.name, reference.model);
    if (found !== undefined) return found;
    const path = join(modelsFolder(), reference.model.file);
    throw new ModelError(
      `Cannot load model "${ref}": ${path} is missing or incomplete, run the set-up first: bun run setup`,
      { hints: ["Run `bun run setup` or `deno task setup`."] },
    );
  }
  if (reference.kind === "hub") return resolveHub(ref, reference);
  const { path } = reference;
  if (existsSync(path) && statSync(path).isFile()) return modelAt(path);
  const names = Object.keys(knownModels).join(", ");
  throw new ModelError(
    `Cannot load model "${ref}": no file at ${path}, expected the path of a GGUF file or one of: ${names}`,
  );
}

function resolveHub(ref: string, reference: HubReference): ResolvedModel {
  const files = new HubCache(hubFolder()).files(reference.repo);
  const paths = files.map(({ file }) => file);
  if (matchGgufs(paths, reference).length === 0) {
    throw new ModelError(
      `Cannot load model "${ref}": it is not on this machine, fetch it first: bun run pull ${ref}`,
      { hints: [`Run \`bun run pull ${ref}\` or \`deno task pull ${ref}\`.`] },
    );
  }
  const file = chooseGguf(ref, paths, reference);
  return modelAt(files.find((each) => each.file === file)!.path);
}
