/**
 * One writer of a file at a time, whatever process it is in. The lock is the operating system's,
 * taken through SQLite, so it ends with the process that holds it, however that ends: none is ever
 * stale.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DownloadError } from "./download_error.ts";

/** Milliseconds between two looks at a lock that somebody else holds. */
const POLL_MS = 100;

/** What is thrown where a place cannot be locked. */
export type LockRefusal = (why: string, cause: unknown, file: string) => Error;

const refuse: LockRefusal = (why, cause, place) =>
  new DownloadError(
    `Cannot lock the model cache: ${why}, put it on a local disk with HF_HUB_CACHE`,
    { cause, place },
  );

/**
 * Waits for a lock and takes it; dispose it to let the next one in.
 *
 * @param file where the lock lives; it is made, stays empty, and stays
 * @param onWait told at every look that finds it taken
 * @param refusal default for the cache of models
 */
export async function takeLock(
  file: string,
  signal: AbortSignal,
  onWait: () => void,
  refusal: LockRefusal = refuse,
): Promise<Disposable> {
  // Not at the top: a program that only reads models needs no database.
  const { DatabaseSync } = await import("node:sqlite");
  mkdirSync(dirname(file), { recursive: true });
  const database = new DatabaseSync(file);
  try {
    while (!tryExclusive(database, file, refusal)) {
      onWait();
      await sleep(POLL_MS, undefined, { signal });
    }
  } catch (error) {
    database.close();
    throw signal.aborted ? signal.reason : error;
  }
  return { [Symbol.dispose]: () => database.close() };
}

function tryExclusive(
  database: { exec(sql: string): void },
  file: string,
  refusal: LockRefusal,
): boolean {
  try {
    database.exec("BEGIN EXCLUSIVE");
    return true;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (message.includes("locked")) return false;
    throw refusal(message, cause, file);
  }
}
