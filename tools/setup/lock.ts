/**
 * One set-up at a time in one cache. The lock is the operating system's, taken through SQLite, so
 * it ends with the process that holds it, however that ends.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { SetupError } from "../../src/errors.ts";

const pollMs = 200;

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
  const { DatabaseSync } = await import("node:sqlite");
  const holderFile = join(cache, "setup.pid");
  const database = new DatabaseSync(join(cache, "setup.lock"));
  let told = false;
  try {
    while (!tryExclusive(database)) {
      if (!told) onWait(readHolder(holderFile));
      told = true;
      await sleep(pollMs, undefined, { signal });
    }
    writeFileSync(holderFile, String(process.pid));
  } catch (error) {
    database.close();
    throw signal.aborted ? signal.reason : error;
  }
  return { [Symbol.dispose]: () => database.close() };
}

function tryExclusive(database: { exec(sql: string): void }): boolean {
  try {
    database.exec("BEGIN EXCLUSIVE");
    return true;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (message.includes("locked")) return false;
    throw new SetupError(
      `Cannot lock the cache: ${message}, put it on a local disk with SLUICE_CACHE`,
      { cause },
    );
  }
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
