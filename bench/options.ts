/**
 * What the benches have in common on their command line.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { SluiceError } from "../src/errors.ts";
import { type Lock, takeLock } from "../tools/setup/lock.ts";

/** An option has a value that it cannot have. */
export class UsageError extends SluiceError {
  override name = "UsageError";

  constructor(message: string) {
    super(message, "usage", 400);
  }
}

/**
 * The number of an option.
 *
 * @throws {UsageError} when it is no integer from 1 up
 */
export function positive(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new UsageError(`Cannot use --${option} ${text}: expected an integer from 1 up`);
}

/**
 * The items that a list with commas names; "" names none.
 *
 * @throws {UsageError} when it names something else
 */
export function choose<T>(
  option: string,
  list: string,
  items: readonly T[],
  nameOf: (item: T) => string,
): T[] {
  const names = list.split(",").filter((name) => name !== "");
  const unknown = names.find((name) => !items.some((item) => nameOf(item) === name));
  if (unknown === undefined) return items.filter((item) => names.includes(nameOf(item)));
  throw new UsageError(
    `Cannot use --${option} ${unknown}: expected some of ${items.map(nameOf).join(", ")}`,
  );
}

/** Tells what is under way: over the last line on a terminal; "" clears it. */
export function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  else if (text !== "") process.stderr.write(`${text}\n`);
}

/** Waits until no other bench of this user measures here: two at once measure each other. */
export async function takeMachine(signal: AbortSignal): Promise<Lock> {
  const folder = join(tmpdir(), `sluice-bench-${process.getuid?.() ?? "user"}`);
  mkdirSync(folder, { recursive: true });
  return await takeLock(folder, signal, (holder) => {
    process.stderr.write(`Another bench measures (${holder}): waiting for it to end\n`);
  });
}

/**
 * Runs a bench; what is expected to go wrong becomes one sentence and exit code 1.
 *
 * @param bench returns the exit code; its signal is aborted when the user wants to see what there
 * is. Who asks twice ends it at once.
 */
export async function runBench(
  bench: (args: string[], signal: AbortSignal) => Promise<number>,
): Promise<never> {
  const stopper = new AbortController();
  const stop = (): void => {
    if (stopper.signal.aborted) process.exit(130);
    stopper.abort(new UsageError("The bench was interrupted"));
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, stop);
  try {
    process.exit(await bench(process.argv.slice(2), stopper.signal));
  } catch (error) {
    const isUsage = error instanceof TypeError && "code" in error &&
      String(error.code).startsWith("ERR_PARSE_ARGS");
    if (!(error instanceof SluiceError) && !isUsage) throw error;
    process.stderr.write(`bench: ${error.message}\n`);
    process.exit(1);
  }
}
