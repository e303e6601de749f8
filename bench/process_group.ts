/**
 * A program that is measured: started, stopped and continued with all its children, its memory and
 * its CPU time read from /proc. Knows nothing of models.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { EngineError } from "../src/errors.ts";

/** Memory of a program and its children, in bytes. */
export interface MemoryUse {
  /** In memory now. */
  residentBytes: number;
  /** Most that each process ever had in memory, added up. */
  peakBytes: number;
}

const TAIL_CHARACTERS_MAX = 4096;
const PATIENCE_MS = 3000;

const running = new Set<ProcessGroup>();
let isWatching = false;

/** A running program with its children. Dispose it to end them. */
export class ProcessGroup implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #closed: Promise<unknown>;
  #isOver = false;
  #tail = "";

  private constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
    this.#closed = once(child, "close").catch((error: Error) => this.#tail += error.message)
      .then(() => {
        this.#isOver = true;
        running.delete(this);
      });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#tail = (this.#tail + text).slice(-TAIL_CHARACTERS_MAX);
    });
  }

  /** Starts a program in a process group of its own; whether it lives is seen at the first use. */
  static start(name: string, command: readonly string[], cwd?: string): ProcessGroup {
    endAllOnExit();
    const [program = "", ...args] = command;
    const child = spawn(program, args, { cwd, detached: true, stdio: "pipe" });
    const group = new ProcessGroup(child, name);
    if (child.pid !== undefined) running.add(group);
    return group;
  }

  /** What the program reads. */
  get input(): Writable {
    return this.#child.stdin!;
  }

  /** What the program prints; someone must read it. */
  get output(): Readable {
    return this.#child.stdout!;
  }

  /** Resolves when the program and its output have ended. */
  get closed(): Promise<unknown> {
    return this.#closed;
  }

  /** Throws when the program has ended, with what it said last. */
  expectAlive(): void {
    if (!this.#isOver && this.#child.exitCode === null && this.#child.signalCode === null) return;
    throw this.failure();
  }

  /** Says that the program has ended, and its last words. */
  failure(): EngineError {
    const end = this.#child.signalCode ?? this.#child.exitCode ?? "no start";
    const words = this.#tail.trim().split("\n").slice(-3).join(" / ") || "nothing";
    return new EngineError(`Cannot measure ${this.#name}: it ended (${end}) and said "${words}"`);
  }

  /** Takes every process off the CPU until `resume()`. */
  pause(): void {
    this.#signal("SIGSTOP");
  }

  /** Lets every process run again. */
  resume(): void {
    this.#signal("SIGCONT");
  }

  /** CPU time of all threads since they started, in milliseconds. Linux only. */
  cpuMs(): number {
    return this.#sum((pid) =>
      entries(`/proc/${pid}/task`)
        .map((thread) => Number.parseInt(text(`/proc/${pid}/task/${thread}/schedstat`) || "0"))
        .reduce((sum, ns) => sum + ns, 0)
    ) / 1e6;
  }

  /** Memory of all processes; pages that two of them share count twice. Linux only. */
  memory(): MemoryUse {
    const kilobytes = (pid: number, key: string): number =>
      Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text(`/proc/${pid}/status`))?.[1] ?? 0);
    return {
      residentBytes: this.#sum((pid) => kilobytes(pid, "VmRSS")) * 1024,
      peakBytes: this.#sum((pid) => kilobytes(pid, "VmHWM")) * 1024,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal("SIGTERM");
    // A process that is stopped sees the end only when it goes on.
    this.resume();
    const patience = setTimeout(() => this.#signal("SIGKILL"), PATIENCE_MS);
    await this.#closed;
    clearTimeout(patience);
  }

  /** Ends every process at once. */
  kill(): void {
    this.#signal("SIGKILL");
  }

  #sum(of: (pid: number) => number): number {
    const pid = this.#child.pid;
    return pid === undefined ? 0 : withChildren(pid).reduce((sum, each) => sum + of(each), 0);
  }

  #signal(name: "SIGSTOP" | "SIGCONT" | "SIGTERM" | "SIGKILL"): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** Keeps a busy loop on each of some processors until it is disposed, or a minute has gone by. */
export function startBusyLoops(count: number): AsyncDisposable {
  const loops = Array.from(
    { length: count },
    // The limit is the kernel's: no loop outlives a bench that was killed.
    () => ProcessGroup.start("a busy loop", ["sh", "-c", "ulimit -t 60; while :; do :; done"]),
  );
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(loops.map((loop) => loop[Symbol.asyncDispose]()));
    },
  };
}

/** A detached program outlives its parent, so none may be left when this process exits. */
function endAllOnExit(): void {
  if (isWatching) return;
  isWatching = true;
  process.on("exit", () => {
    for (const group of running) group.kill();
  });
}

function withChildren(pid: number): number[] {
  const children = entries(`/proc/${pid}/task`)
    .flatMap((thread) => text(`/proc/${pid}/task/${thread}/children`).trim().split(" "))
    .filter((child) => child !== "");
  return [pid, ...children.flatMap((child) => withChildren(Number(child)))];
}

/** Names in a folder of /proc; none when the process or thread is gone. */
function entries(path: string): string[] {
  return unlessGone(() => readdirSync(path), []);
}

/** Text of a file of /proc; empty when the process or thread is gone. */
function text(path: string): string {
  return unlessGone(() => readFileSync(path, "utf8"), "");
}

function unlessGone<T>(read: () => T, gone: T): T {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return gone;
    throw error;
  }
}
