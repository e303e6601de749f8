/**
 * Pins another version of ggml: `bun tools/ggml_lock.ts 3.22.1` takes the sources out of that
 * version of the npm package, lays them at `kernels/ggml/` and rewrites `kernels/ggml.lock.json`.
 *
 * @module
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { SetupError } from "../src/errors.ts";
import { cacheFolder } from "../src/store/cache.ts";
import { checkoutRoot, runMain } from "./setup.ts";
import { fetchPack, type GgmlLock, integrityOf, layTree, lockPath } from "./setup/ggml.ts";
import { unpackTree } from "./setup/ggml.ts";
import { treeHash } from "./setup/hash.ts";
import { takeLock } from "./setup/lock.ts";
import { Progress } from "./setup/progress.ts";
import type { Site } from "./setup/step.ts";

/** Where the sources are, and what of them we build or read. */
const origin = {
  package: "node-llama-cpp",
  bundle: "llama/gitRelease.bundle",
  paths: [
    "LICENSE",
    "ggml/CMakeLists.txt",
    "ggml/include",
    ":(glob)ggml/src/*",
    "ggml/src/ggml-cpu",
  ],
} as const;

/** ggml's version, as its build file says it in three lines. */
export function ggmlVersion(cmake: string): string {
  const parts = ["MAJOR", "MINOR", "PATCH"].map((part) => {
    const found = new RegExp(`^set\\(GGML_VERSION_${part} (\\d+)\\)$`, "m").exec(cmake)?.[1];
    if (found !== undefined) return found;
    throw new SetupError(`Cannot read ggml's version: its CMakeLists.txt has no ${part}`);
  });
  return parts.join(".");
}

async function main(): Promise<number> {
  const packageVersion = process.argv[2];
  if (packageVersion === undefined) {
    throw new SetupError(`Cannot pin ggml: name a version of ${origin.package}, such as 3.22.1`);
  }
  const [root, cache] = [checkoutRoot(), cacheFolder()];
  const signal = new AbortController().signal;
  const site: Site = { root, cache, temp: join(cache, "tmp", String(process.pid)), signal };
  mkdirSync(site.temp, { recursive: true });
  mkdirSync(join(cache, "logs"), { recursive: true });
  using _lock = await takeLock(cache, signal, () => {});
  using progress = new Progress(process.stderr);
  const bar = progress.bar("ggml");
  const pack = await fetchPack(site, { package: origin.package, packageVersion }, bar);
  const integrity = await integrityOf(pack);
  const tree = await unpackTree(site, pack, origin, bar);
  bar.finish();
  const lock: GgmlLock = {
    version: ggmlVersion(readFileSync(join(tree, "CMakeLists.txt"), "utf8")),
    package: origin.package,
    packageVersion,
    integrity,
    bundle: origin.bundle,
    paths: origin.paths,
    sha256: treeHash(tree),
    licence: "MIT",
  };
  layTree(site, tree);
  writeFileSync(lockPath(root), `${JSON.stringify(lock, null, 2)}\n`);
  rmSync(site.temp, { recursive: true });
  return 0;
}

if (import.meta.main) await runMain(main);
