/**
 * Where a bench makes what it needs, once: its peers, its models, its own programs.
 *
 * @module
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { takeLock } from "../tools/setup/lock.ts";
import { type Bar, type Output, Progress } from "../tools/setup/progress.ts";
import type { Site } from "../tools/setup/step.ts";

/** Who wants something made. */
export interface Workshop {
  /** The checkout. */
  readonly root: string;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/**
 * Runs the making of something with a bar, one at a time in a folder, and leaves nothing half-made.
 *
 * @param folder where it is kept
 */
export async function make(
  name: string,
  folder: string,
  { root, output, signal }: Workshop,
  work: (site: Site, bar: Bar) => Promise<void>,
): Promise<void> {
  const temp = join(folder, "tmp");
  mkdirSync(join(folder, "logs"), { recursive: true });
  using _lock = await takeLock(folder, signal, (holder) => {
    output.write(`Another bench prepares what it needs (${holder}): waiting for it to end\n`);
  });
  rmSync(temp, { recursive: true, force: true });
  mkdirSync(temp);
  using progress = new Progress(output);
  const bar = progress.bar(name);
  try {
    await work({ root, cache: folder, temp, signal }, bar);
    bar.finish();
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}
