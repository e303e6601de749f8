/**
 * Zig: the user's own, or the one out of its PyPI wheel.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { SetupError } from "../../src/errors.ts";
import { onPath } from "./command.ts";
import { buildJobs } from "./platform.ts";
import { fetchWheel, findPip, type Wheel } from "./pypi.ts";
import type { Site, Step } from "./step.ts";
import { unzip } from "./zip.ts";

/** The one version that builds sluice. */
export const zigVersion = "0.17.0";

/** Its wheels, by platform and architecture. */
export const zigWheels: Readonly<Record<string, { sha256: string; bytes: number }>> = {
  "linux-x64": {
    sha256: "97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b",
    bytes: 101_011_302,
  },
  "linux-arm64": {
    sha256: "d2804f94f54f7fcf8169f4b212a619ad688a4e2e6592e976f0cf2e58e2cd8af3",
    bytes: 97_992_724,
  },
  "darwin-arm64": {
    sha256: "87274af689c4128051b26c80f6f676757e0a81c2fdc137fd8b5679e928e4bc4f",
    bytes: 100_425_967,
  },
  "darwin-x64": {
    sha256: "4d910f0e363ddb60a6b8ddb55235617797a8ccbcb6c5c7132a949d9f833eea42",
    bytes: 104_418_550,
  },
};

const instead = `put Zig ${zigVersion} on PATH, or name it with SLUICE_ZIG, or install pip`;

const zigFolder = (site: Pick<Site, "cache">): string => join(site.cache, "zig", zigVersion);

/**
 * Where Zig is: `SLUICE_ZIG`, else `zig` on PATH when its version is exactly ours, else the cache.
 *
 * @returns its path, or undefined when it is yet to be fetched
 * @throws {SetupError} when `SLUICE_ZIG` names something else
 */
export function findZig(site: Pick<Site, "cache">): string | undefined {
  const named = process.env.SLUICE_ZIG;
  if (named) {
    const version = versionOf(named);
    if (version === zigVersion) return named;
    throw new SetupError(
      `Cannot use SLUICE_ZIG=${named}: ${version ? `it is ${version}` : "it does not run"}, ` +
        `expected Zig ${zigVersion}; unset SLUICE_ZIG to have it fetched`,
    );
  }
  const found = onPath("zig");
  if (found !== undefined && versionOf(found) === zigVersion) return found;
  const cached = join(zigFolder(site), "zig");
  return existsSync(cached) ? cached : undefined;
}

function versionOf(zig: string): string {
  return spawnSync(zig, ["version"], { encoding: "utf8" }).stdout?.trim() ?? "";
}

/** Fetches Zig where the user has none. */
export const zig: Step = {
  name: "zig",
  brings: `Zig ${zigVersion}`,
  fetchBytes: 101_000_000,
  diskBytes: 500_000_000,
  memoryBytes: 0,
  after: [],
  ready: (site) => findZig(site) !== undefined,
  async missing(site) {
    if (await findPip(site.signal) !== undefined) return [];
    return [`python3 with pip, or uv, to fetch Zig (${instead})`];
  },
  async run(site, bar) {
    const pin = zigWheels[`${process.platform}-${process.arch}`];
    if (pin === undefined) throw new SetupError(`Cannot fetch Zig for this machine: ${instead}`);
    const wheel: Wheel = { project: "ziglang", version: zigVersion, ...pin };
    const archive = await fetchWheel(site, wheel, bar, instead);
    const unpacked = join(site.temp, "zig");
    bar.phase("unpacking");
    await unzip(archive, unpacked, {
      place: (name) => name.startsWith("ziglang/") ? name.slice("ziglang/".length) : undefined,
      onBytes: bar.set,
      signal: site.signal,
    });
    const folder = zigFolder(site);
    mkdirSync(dirname(folder), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(unpacked, folder);
    rmSync(archive);
  },
};

/** Words and variables of a `zig build` that keeps its own caches in ours. */
export function zigBuild(
  site: Pick<Site, "cache">,
  args: readonly string[],
): { command: string[]; env: Record<string, string> } {
  const program = findZig(site);
  if (program === undefined) throw new SetupError(`Cannot build: Zig is missing; ${instead}`);
  const [builds, libraries] = zigCaches(site);
  const jobs = args.some((arg) => arg.startsWith("-j")) ? [] : [`-j${buildJobs()}`];
  return {
    command: [program, "build", "--cache-dir", builds, ...jobs, ...args],
    // Debug: Zig compiles its own build program first, in 10 s instead of 90 s.
    env: { ZIG_GLOBAL_CACHE_DIR: libraries, ZIG_DEBUG_CMD: "1" },
  };
}

/** Zig's own cache folders, the one of builds and the one of its libraries. */
export function zigCaches(site: Pick<Site, "cache">): [builds: string, libraries: string] {
  return [join(site.cache, "zig", "builds"), join(site.cache, "zig", "libraries")];
}
