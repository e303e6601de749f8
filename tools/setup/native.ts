/**
 * The native library: built by Zig from `build.zig` and `kernels/`, kept in the cache under a key
 * of all that made it, and laid at `zig-out/lib/`.
 *
 * @module
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { run } from "./command.ts";
import { ggml } from "./ggml.ts";
import { listFiles, sha256, treeHash } from "./hash.ts";
import { cpuIdentity, type Machine, thisMachine } from "./platform.ts";
import { entryCount, watchGrowth } from "./progress.ts";
import type { Site, Step } from "./step.ts";
import { zig, zigBuild, zigCaches, zigVersion } from "./zig.ts";

/** How many objects a first build makes, those of Zig's own libraries too; it scales the bar. */
const objectCount = 126;

const libraryName = process.platform === "darwin" ? "libsluice.dylib" : "libsluice.so";

/** Builds the native library. */
export const native: Step = {
  name: "library",
  brings: "the native library",
  fetchBytes: 0,
  diskBytes: 400_000_000,
  memoryBytes: 2_000_000_000,
  after: [zig, ggml],
  ready(site) {
    const key = libraryKey(site.root, thisMachine());
    const { library, keyFile } = laidPaths(site);
    if (existsSync(library) && existsSync(keyFile) && readFileSync(keyFile, "utf8") === key) {
      return true;
    }
    const kept = join(site.cache, "native", key, libraryName);
    if (!existsSync(kept)) return false;
    layLibrary(site, kept, key);
    return true;
  },
  missing: () => Promise.resolve([]),
  async run(site, bar) {
    const key = libraryKey(site.root, thisMachine());
    const prefix = join(site.temp, "native");
    const { command, env } = zigBuild(site, ["--prefix", prefix, "--summary", "none"]);
    bar.phase("building", objectCount, "objects");
    {
      const folders = zigCaches(site).map((folder) => join(folder, "o"));
      using _ = watchGrowth(() => entryCount(folders), bar);
      await run(command, {
        purpose: "build the native library",
        cwd: site.root,
        env,
        signal: site.signal,
        log: join(site.cache, "logs", "library.log"),
      });
    }
    const kept = join(site.cache, "native", key, libraryName);
    mkdirSync(dirname(kept), { recursive: true });
    renameSync(join(prefix, "lib", libraryName), kept);
    layLibrary(site, kept, key);
  },
};

/**
 * Names a build by what made it: the compiler, every source (ggml's by its lock file), and the CPU
 * that it is for.
 */
export function libraryKey(root: string, machine: Machine): string {
  const kernels = listFiles(join(root, "kernels")).filter((file) => !file.startsWith("ggml/"));
  const build = ["build.zig", "build.zig.zon"].filter((file) => existsSync(join(root, file)));
  const sources = [...build, ...kernels.map((file) => `kernels/${file}`)];
  return sha256([zigVersion, treeHash(root, sources), cpuIdentity(machine)].join("\n"));
}

function laidPaths(site: Pick<Site, "root">): { library: string; keyFile: string } {
  const folder = join(site.root, "zig-out", "lib");
  return { library: join(folder, libraryName), keyFile: join(folder, "libsluice.key") };
}

/** Puts a library of the cache where the checkout looks for it, and then says which it is. */
function layLibrary(site: Pick<Site, "root">, kept: string, key: string): void {
  const { library, keyFile } = laidPaths(site);
  mkdirSync(dirname(library), { recursive: true });
  const passage = `${library}.${process.pid}`;
  copyFileSync(kept, passage);
  renameSync(passage, library);
  writeFileSync(keyFile, key);
}
