/**
 * One set-up at a time in one cache, and who that is.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { SetupError } from "../../src/errors.ts";
import { takeLock as takeFileLock } from "../../src/store/lock.ts";

/** A lock that is held; dispose it to let the next one in. */
export type Lock = Disposable;

/**
 * Waits for the cache's lock and takes it.
 *
 * @param onWait told once, with the holder's process id where known, when somebody else holds it
 */
export async function takeLock(
  cache: string,
  signal: AbortSignal,
  onWait: (holder: string) => void,
): Promise<Lock> {
  const holderFile = join(cache, "setup.pid");
  let told = false;
  const tell = (): void => {
    if (!told) onWait(readHolder(holderFile));
    told = true;
  };
  const lock = await takeFileLock(
    join(cache, "setup.lock"),
    signal,
    tell,
    (why, cause) =>
      new SetupError(`Cannot lock the cache: ${why}, put it on a local disk with SLUICE_CACHE`, {
        cause,
      }),
  );
  try {
    writeFileSync(holderFile, String(process.pid));
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
  return lock;
}

function readHolder(file: string): string {
  try {
    return `process ${readFileSync(file, "utf8")}`;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return "another process";
    }
    throw error;
  }
}
