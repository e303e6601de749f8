/**
 * A folder to set up in, with programs of our own on PATH in place of the real ones.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Bar, Output } from "../../../tools/setup/progress.ts";
import { onPath } from "../../../tools/setup/command.ts";
import type { Site } from "../../../tools/setup/step.ts";

/** A bar that nobody sees. */
export const noBar: Bar = { phase() {}, set() {}, finish() {} };

/** What was written to an output. */
export class Written implements Output {
  text = "";
  readonly isTTY: boolean;
  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
}

/** A checkout, a cache and a PATH of its own. Dispose it to have the real PATH back. */
export class Workplace implements Site, Disposable {
  readonly folder: string = realpathSync(mkdtempSync(join(tmpdir(), "sluice-setup-")));
  readonly root: string = join(this.folder, "checkout");
  readonly cache: string = join(this.folder, "cache");
  readonly temp: string = join(this.cache, "tmp", "test");
  readonly programs: string = join(this.folder, "bin");
  readonly stopper = new AbortController();
  readonly #path = process.env.PATH;

  constructor() {
    for (const folder of [this.root, this.temp, join(this.cache, "logs"), this.programs]) {
      mkdirSync(folder, { recursive: true });
    }
    process.env.PATH = this.programs;
  }

  get signal(): AbortSignal {
    return this.stopper.signal;
  }

  /** Puts a shell script on PATH. The real PATH is in its `$REAL_PATH`. */
  script(name: string, body: string): void {
    const text = `#!/bin/sh\nREAL_PATH='${this.#path}'\n${body}\n`;
    writeFileSync(join(this.programs, name), text, { mode: 0o755 });
  }

  /** Puts a real program on PATH. */
  real(name: string): void {
    process.env.PATH = this.#path ?? "";
    const path = onPath(name);
    process.env.PATH = this.programs;
    if (path === undefined) throw new Error(`Cannot test: ${name} is not on PATH`);
    symlinkSync(path, join(this.programs, name));
  }

  /** Writes a file of the checkout. */
  write(path: string, text: string): void {
    const full = join(this.root, path);
    mkdirSync(join(full, ".."), { recursive: true });
    writeFileSync(full, text);
  }

  [Symbol.dispose](): void {
    process.env.PATH = this.#path ?? "";
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Waits for a condition that another process brings about. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** Whether a process is there. */
export function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

/** Words that start this runtime on a TypeScript file. */
export function runtimeCommand(): string[] {
  const run = process.versions.deno === undefined ? [] : ["run", "-A", "--no-config"];
  return [process.execPath, ...run];
}
