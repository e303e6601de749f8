/**
 * What the machine lacks for some steps, found before the first byte is fetched.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { SetupError } from "../../src/errors.ts";
import { size } from "../../src/store/amounts.ts";
import { memoryBytes } from "./platform.ts";
import type { Site, Step } from "./step.ts";

/**
 * Checks tools, disk, memory and the cache folder for these steps.
 *
 * @throws {SetupError} that names everything missing
 */
export async function checkRequirements(site: Site, steps: readonly Step[]): Promise<void> {
  const tools = await Promise.all(steps.map((step) => step.missing(site)));
  const missing = [...tools.flat(), ...folderFaults(site.cache, steps), ...memoryFaults(steps)];
  if (missing.length === 0) return;
  throw new SetupError(`Cannot set up sluice, missing: ${missing.join("; ")}`);
}

function folderFaults(cache: string, steps: readonly Step[]): string[] {
  const move = "move it with SLUICE_CACHE";
  try {
    mkdirSync(cache, { recursive: true });
    if (!runsPrograms(cache)) {
      return [`a cache that may run programs: ${cache} is noexec (${move})`];
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return [`a cache that can be written: ${cache} gives ${error.code} (${move})`];
  }
  const { bavail, bsize } = statfsSync(cache);
  const free = bavail * bsize;
  const needed = steps.reduce((sum, step) => sum + step.diskBytes, 0);
  if (free >= needed) return [];
  return [`disk: ${cache} has ${size(free)} free of ${size(needed)} (or ${move})`];
}

/** Whether the folder's file system lets a program start; also that it can be written. */
export function runsPrograms(folder: string): boolean {
  const probe = join(folder, `probe.${process.pid}`);
  writeFileSync(probe, "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  try {
    return spawnSync(probe).status === 0;
  } finally {
    rmSync(probe);
  }
}

function memoryFaults(steps: readonly Step[]): string[] {
  const needed = Math.max(0, ...steps.map((step) => step.memoryBytes));
  const there = memoryBytes();
  if (there >= needed) return [];
  return [`memory: there are ${size(there)} of ${size(needed)} (use a larger machine)`];
}
