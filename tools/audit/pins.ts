/**
 * Whether everything that sluice is made of is pinned: to one version, and to one content.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { modelsFolder } from "../../src/store/cache.ts";
import { knownModels } from "../../src/store/reference.ts";
import { readLock } from "../setup/ggml.ts";
import { fileHash, treeHash } from "../setup/hash.ts";
import { modelWheel } from "../setup/model.ts";
import { zigVersion, zigWheels } from "../setup/zig.ts";
import { type BunLock, readBunLock } from "./bun_lock.ts";

/** What one check found. */
export interface Finding {
  /** What was looked at. */
  readonly subject: string;
  /** What is in order, or that it cannot be told; for people. */
  readonly says: string;
  /** What is wrong, a sentence each. */
  readonly faults: readonly string[];
  /** Nothing was learned; there are no faults then. */
  readonly isUnknown?: boolean;
}

const EXACT = /^\d+\.\d+\.\d+(?:-[\w.-]+)?$/;
const SHA512 = /^sha512-[A-Za-z0-9+/]{86}==$/;
const SHA256 = /^[0-9a-f]{64}$/;

type Names = Readonly<Record<string, string>>;

/** Where things are. */
export interface Place {
  readonly root: string;
  readonly cache: string;
}

function readJson(root: string, file: string): Readonly<Record<string, Names>> {
  return JSON.parse(readFileSync(join(root, file), "utf8"));
}

/** package.json and deno.json name one version of each package. */
export function checkVersions(
  { dependencies, devDependencies }: Readonly<Record<string, Names>>,
  imports: Names = {},
): Finding {
  const pins = { ...dependencies, ...devDependencies };
  const loose = Object.entries(pins).filter(([, version]) => !EXACT.test(version))
    .map(([name, version]) => `package.json asks for ${name} ${version}, expected one version`);
  const foreign = Object.entries(imports)
    .filter(([name, target]) => target.startsWith("npm:") && target !== `npm:${name}@${pins[name]}`)
    .map(([name, target]) => `deno.json imports ${target}, package.json has ${name} ${pins[name]}`);
  const ranges = Object.values(imports).filter((target) => /^jsr:.*@[\^~]/.test(target));
  const also = ranges.length === 0 ? "" : `; in ranges, and not in the lock: ${ranges.join(", ")}`;
  const says = `${Object.keys(pins).length} packages, each of one version${also}`;
  return { subject: "versions", says, faults: [...loose, ...foreign] };
}

/** bun.lock is of this package.json, and has a hash of every package. */
export function checkLock({ packages, asked }: BunLock, pins: Names): Finding {
  const known = new Set(packages.map(({ name, version }) => `${name}@${version}`));
  const stale = Object.entries(pins)
    .filter(([name, version]) => asked[name] !== version || !known.has(`${name}@${version}`))
    .map(([name, version]) => `bun.lock does not have ${name} ${version}, install again`);
  const gone = Object.keys(asked).filter((name) => pins[name] === undefined)
    .map((name) => `bun.lock has ${name}, which package.json does not ask for, install again`);
  const bare = packages.filter(({ integrity }) => !SHA512.test(integrity))
    .map(({ name, version }) => `bun.lock has no sha512 of ${name} ${version}`);
  const elsewhere = packages.filter(({ registry }) => registry !== "")
    .map(({ name, registry }) => `bun.lock takes ${name} from ${registry}, expected the registry`);
  return {
    subject: "bun.lock",
    says: `${packages.length} packages, each with its sha512`,
    faults: [...stale, ...gone, ...bare, ...elsewhere],
  };
}

function checkGgml({ root }: Place): Finding {
  const { version, sha256, integrity } = readLock(root);
  const faults: string[] = [];
  if (!SHA256.test(sha256)) faults.push("kernels/ggml.lock.json has no sha256 of the tree");
  if (!SHA512.test(integrity)) faults.push("kernels/ggml.lock.json has no sha512 of the package");
  const laid = join(root, "kernels", "ggml");
  const isLaid = existsSync(laid);
  if (isLaid && treeHash(laid) !== sha256) {
    faults.push("kernels/ggml is not the tree of kernels/ggml.lock.json, run the set-up again");
  }
  const says = `${version}, by the sha256 of its tree${isLaid ? ", which is the one laid" : ""}`;
  return { subject: "ggml", says, faults };
}

function checkZig(): Finding {
  const faults = Object.entries(zigWheels).filter(([, { sha256 }]) => !SHA256.test(sha256))
    .map(([platform]) => `Zig for ${platform} has no sha256`);
  if (!EXACT.test(zigVersion)) faults.push(`Zig is ${zigVersion}, expected one version`);
  const platforms = Object.keys(zigWheels).length;
  return {
    subject: "zig",
    says: `${zigVersion}, by the sha256 for ${platforms} platforms`,
    faults,
  };
}

async function checkModels({ cache }: Place): Promise<Finding> {
  const faults: string[] = [];
  let present = 0;
  if (!SHA256.test(modelWheel.sha256)) faults.push("The package of the model has no sha256");
  for (const [name, { file, sha256 }] of Object.entries(knownModels)) {
    if (!SHA256.test(sha256)) faults.push(`The model ${name} has no sha256`);
    const path = join(modelsFolder(cache), file);
    if (!existsSync(path)) continue;
    present++;
    if (await fileHash(path) !== sha256) {
      faults.push(`The file of the model ${name} is not the one pinned, remove ${path}`);
    }
  }
  const names = Object.keys(knownModels).join(", ");
  const says = `${names}, by sha256${present > 0 ? ", which is that of the file here" : ""}`;
  return { subject: "model", says, faults };
}

/** Everything that is pinned, by what pins it. */
export async function checkPins(place: Place): Promise<Finding[]> {
  const npm = readJson(place.root, "package.json");
  const { imports } = readJson(place.root, "deno.json");
  const pins = { ...npm["dependencies"], ...npm["devDependencies"] };
  return [
    checkVersions(npm, imports),
    checkLock(readBunLock(place.root), pins),
    checkGgml(place),
    checkZig(),
    await checkModels(place),
  ];
}
