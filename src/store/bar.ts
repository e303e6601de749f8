/**
 * One line that shows how far a download is: redrawn on a terminal, else written now and then.
 *
 * @module
 */
import { size } from "./download.ts";

/** Where it is drawn; `process.stderr` is one. */
export interface BarOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const CELLS = 24;
/** Milliseconds between two lines where there is no terminal. */
const PLAIN_MS = 10_000;
const HOLD = "\r\x1b[2K";

/** The line of one download. */
export class Bar {
  readonly #output: BarOutput;
  readonly #now: () => number;
  #firstBytes: number | undefined;
  #firstMs = 0;
  #writtenMs = -Infinity;

  /**
   * A line that is not drawn yet.
   *
   * @param now a clock in milliseconds
   */
  constructor(output: BarOutput, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#now = now;
  }

  /** Draws so many bytes of a total; null is an unknown one. */
  draw(bytes: number, total: number | null): void {
    const now = this.#now();
    if (this.#firstBytes === undefined) {
      this.#firstBytes = bytes;
      this.#firstMs = now;
    }
    if (this.#output.isTTY) {
      const line = this.#line(bytes, total, now).slice(0, (this.#output.columns || 80) - 1);
      this.#output.write(`${HOLD}${line}`);
    } else if (now - this.#writtenMs >= PLAIN_MS) {
      this.#writtenMs = now;
      this.#output.write(`${this.#line(bytes, total, now)}\n`);
    }
  }

  /** Takes the line off a terminal. */
  clear(): void {
    if (this.#output.isTTY && this.#firstBytes !== undefined) this.#output.write(HOLD);
  }

  #line(bytes: number, total: number | null, now: number): string {
    const seconds = (now - this.#firstMs) / 1000;
    const perSecond = seconds > 0 ? (bytes - this.#firstBytes!) / seconds : 0;
    const speed = perSecond > 0 ? `, ${size(perSecond)} per second` : "";
    if (total === null) return `${size(bytes)}${speed}`;
    const share = total === 0 ? 1 : bytes / total;
    const full = Math.floor(share * CELLS);
    const left = perSecond > 0 ? `, ${time((total - bytes) / perSecond)} left` : "";
    const percent = `${Math.floor(share * 100)} %`.padStart(5);
    return `[${"#".repeat(full)}${".".repeat(CELLS - full)}] ${percent}  ${size(bytes)} of ${
      size(total)
    }${speed}${left}`;
  }
}

/** Seconds for people. */
function time(seconds: number): string {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
