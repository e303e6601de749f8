/**
 * Shows how far the steps are: a bar each on a terminal, else a line each ten seconds.
 *
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { duration, gauge, size } from "../../src/store/amounts.ts";

/** What a bar counts. */
export type Unit = "bytes" | "objects";

/** The progress of one step. */
export interface Bar {
  /** Begins a phase of the step with a verb ("fetching") and what it will count to, if known. */
  phase(verb: string, total?: number, unit?: Unit): void;
  /** Sets what is done in this phase, and what it counts to where that is known only now. */
  readonly set: (done: number, total?: number) => void;
  /** The step is finished. */
  finish(): void;
}

/** Where lines go; `process.stderr` is one. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const terminalIntervalMs = 100;
const plainIntervalMs = 10_000;
const watchIntervalMs = 500;

class StepBar implements Bar {
  readonly #name: string;
  readonly #now: () => number;
  #startedMs: number;
  #verb = "waiting";
  #unit: Unit = "bytes";
  #total: number | undefined;
  #done = 0;
  finished = false;

  constructor(name: string, now: () => number) {
    this.#name = name;
    this.#now = now;
    this.#startedMs = now();
  }

  phase(verb: string, total?: number, unit: Unit = "bytes"): void {
    this.#verb = verb;
    this.#unit = unit;
    this.#total = total;
    this.#done = 0;
    this.#startedMs = this.#now();
  }

  readonly set = (done: number, total: number | undefined = this.#total): void => {
    this.#total = total;
    this.#done = Math.min(done, total ?? Infinity);
  };

  finish(): void {
    this.finished = true;
    this.#verb = "done";
  }

  line(nameWidth: number): string {
    const name = this.#name.padEnd(nameWidth);
    if (this.finished || this.#verb === "waiting") return `  ${name}  ${this.#verb}`;
    const time = duration(this.#now() - this.#startedMs);
    if (this.#total === undefined) {
      const done = this.#done === 0 ? "" : ` ${this.#amount(this.#done)},`;
      return `  ${name}  ${this.#verb}${done} ${time}`;
    }
    const bar = gauge(this.#done, this.#total);
    const of = `${this.#amount(this.#done)} of ${this.#amount(this.#total)}`;
    return `  ${name}  ${bar}  ${this.#verb} ${of}, ${time}`;
  }

  #amount(count: number): string {
    return this.#unit === "bytes" ? size(count) : `${count} ${this.#unit}`;
  }
}

/** The bars of all steps, drawn together. Dispose it to draw the last state and stop. */
export class Progress implements Disposable {
  readonly #output: Output;
  readonly #bars: StepBar[] = [];
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #now: () => number;
  #nameWidth = 0;
  #drawn = 0;

  constructor(output: Output, now: () => number = Date.now) {
    this.#output = output;
    this.#now = now;
    const everyMs = output.isTTY ? terminalIntervalMs : plainIntervalMs;
    this.#timer = setInterval(() => this.draw(), everyMs);
  }

  /** Adds the bar of one step. */
  bar(name: string): Bar {
    const bar = new StepBar(name, this.#now);
    this.#nameWidth = Math.max(this.#nameWidth, name.length);
    this.#bars.push(bar);
    return bar;
  }

  /** Draws now: all bars over the last drawing, or a line for each unfinished one. */
  draw(): void {
    if (!this.#output.isTTY) {
      for (const bar of this.#bars) {
        if (!bar.finished) this.#output.write(`${bar.line(this.#nameWidth)}\n`);
      }
      return;
    }
    const width = this.#output.columns || 80;
    const lines = this.#bars.map((bar) =>
      `\x1b[2K${bar.line(this.#nameWidth).slice(0, width - 1)}\n`
    );
    const up = this.#drawn === 0 ? "" : `\x1b[${this.#drawn}A`;
    this.#output.write(up + lines.join(""));
    this.#drawn = lines.length;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#output.isTTY) this.draw();
  }
}

/** Bytes of all files under a folder; a file that goes away meanwhile counts as nothing. */
export async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const sizes = entries.map((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return folderBytes(path);
    return stat(path).then((file) => file.size, () => 0);
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Number of entries in folders, of which some may not exist yet. */
export async function entryCount(folders: readonly string[]): Promise<number> {
  const lists = await Promise.all(folders.map((folder) => readdir(folder).catch(() => [])));
  return lists.flat().length;
}

/** Sets a bar to the growth of a figure while another program works. Dispose it to stop. */
export function watchGrowth(measure: () => Promise<number>, bar: Bar): Disposable {
  let stopped = false;
  let before: number | undefined;
  const look = async (): Promise<void> => {
    const now = await measure();
    before ??= now;
    if (stopped) return;
    bar.set(now - before);
    timer = setTimeout(look, watchIntervalMs);
  };
  let timer = setTimeout(look, 0);
  return {
    [Symbol.dispose]() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
