/**
 * Runs other programs: on PATH or not, with their output kept, and none left behind.
 *
 * @module
 */
import { spawn, type SpawnOptions } from "node:child_process";
import { accessSync, appendFileSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { SetupError } from "../../src/errors.ts";

/** How to run a program. */
export interface RunOptions {
  /** What fails when the program fails, after "Cannot": "fetch Zig 0.17.0". */
  readonly purpose: string;
  readonly cwd: string;
  /** Set over the environment of this process; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Ends the program and all its children when aborted. */
  readonly signal: AbortSignal;
  /** Ends the program after this time. */
  readonly limitMs?: number;
  /** How long a program may take to end when told to, before it is killed; default 3 s. */
  readonly patienceMs?: number;
  /** Gets everything that the program prints; named in the error. */
  readonly log?: string;
  /** Added to the error: what to do. */
  readonly advice?: string;
}

const tailBytesMax = 64 * 1024;

/** Finds an executable file by name on PATH. */
export function onPath(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    if (folder === "") continue;
    const path = join(folder, name);
    if (isExecutable(path)) return path;
  }
  return undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}

/** Whether a program runs and ends with zero. */
export async function succeeds(
  command: readonly string[],
  signal: AbortSignal,
  limitMs = 60_000,
): Promise<boolean> {
  try {
    await run(command, { purpose: "probe", cwd: process.cwd(), signal, limitMs });
    return true;
  } catch (error) {
    if (error instanceof SetupError && !signal.aborted) return false;
    throw error;
  }
}

/**
 * Runs a program to its end.
 *
 * @returns what it printed on stdout
 * @throws {SetupError} when it cannot start or does not end with zero
 */
export function run(command: readonly string[], options: RunOptions): Promise<string> {
  const { purpose, signal, log } = options;
  const [program, ...args] = command as [string, ...string[]];
  const env = { ...process.env, ...options.env };
  // A group of its own, so that an abort reaches the program's children too.
  const settings: SpawnOptions = { cwd: options.cwd, env, detached: true };
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const child = spawn(program, args, { ...settings, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let tail = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (log !== undefined) appendFileSync(log, text);
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-tailBytesMax);
      if (log !== undefined) appendFileSync(log, text);
    });
    const kill = (name: "SIGTERM" | "SIGKILL"): void => killGroup(child.pid, name);
    let patience: ReturnType<typeof setTimeout> | undefined;
    const stop = (): void => {
      kill("SIGTERM");
      patience = setTimeout(() => kill("SIGKILL"), options.patienceMs ?? 3000);
    };
    signal.addEventListener("abort", stop);
    const limit = options.limitMs === undefined ? undefined : setTimeout(stop, options.limitMs);
    const settle = (): void => {
      signal.removeEventListener("abort", stop);
      clearTimeout(patience);
      clearTimeout(limit);
    };
    child.on("error", (cause) => {
      settle();
      reject(
        new SetupError(`Cannot ${purpose}: ${program} does not start, ${cause.message}`, { cause }),
      );
    });
    child.on("close", (code, name) => {
      settle();
      if (signal.aborted) return reject(signal.reason);
      if (code === 0) return resolve(stdout);
      reject(failure(program, code ?? name, tail || stdout, options));
    });
  });
}

function killGroup(pid: number | undefined, name: "SIGTERM" | "SIGKILL"): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, name);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

function failure(program: string, end: unknown, output: string, options: RunOptions): SetupError {
  const lines = output.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const telling = lines.findLast((line) => /\berror\b/i.test(line)) ?? lines.at(-1) ?? "no message";
  const parts = [
    `Cannot ${options.purpose}: ${program} ended with ${end} and said "${telling.slice(0, 300)}"`,
    options.advice,
    options.log === undefined ? undefined : `its output is in ${options.log}`,
  ];
  return new SetupError(parts.filter((part) => part !== undefined).join("; "));
}
