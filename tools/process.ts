/**
 * Runs a command to its end with a time limit and takes everything that it started down with it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import process from "node:process";

/** How a command ended. */
export interface Ended {
  /** Whether it exited with 0. */
  ok: boolean;
  /** Exit code, name of the signal, or the time limit it ran into. */
  how: string;
  /** What it printed, both streams in the order of arrival. */
  output: string;
  seconds: number;
}

/** Ends what is left of a process group. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** How to run a command. */
export interface RunOptions {
  /** After this it is ended. */
  limitMs: number;
  /** Default the folder of this process. */
  cwd?: URL | undefined;
  /** Set over the environment of this process. */
  env?: Record<string, string> | undefined;
}

/** Runs a program in a process group of its own; rejects only when it cannot be started. */
export function runCommand(command: readonly string[], options: RunOptions): Promise<Ended> {
  const started = performance.now();
  const [program, ...args] = command as [string, ...string[]];
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, NO_COLOR: "1", ...options.env },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const killChild = (): void => child.pid === undefined ? undefined : killGroup(child.pid);
  const interrupted = (): never => {
    killChild();
    process.exit(130);
  };
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);

  const chunks: Uint8Array[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
  }
  let timedOut = false;
  const limit = setTimeout(() => {
    timedOut = true;
    killChild();
  }, options.limitMs);

  return new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    // What outlives the command would keep the pipes open, and "close" would never come.
    child.once("exit", killChild);
    child.once("close", (code, signal) => {
      const how = timedOut
        ? `no end after ${options.limitMs / 1000} s`
        : signal === null
        ? `exit code ${code}`
        : signal;
      const output = Buffer.concat(chunks).toString();
      resolve({ ok: code === 0, how, output, seconds: (performance.now() - started) / 1000 });
    });
  }).finally(() => {
    clearTimeout(limit);
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
  });
}
