/**
 * One line that shows how far a download is: redrawn on a terminal, else written now and then.
 *
 * @module
 */
import { duration, gauge, size } from "./amounts.ts";

/** Where it is drawn; `process.stderr` is one. */
export interface BarOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

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
    const ms = now - this.#firstMs;
    const perMs = ms > 0 ? (bytes - this.#firstBytes!) / ms : 0;
    const speed = perMs > 0 ? `, ${size(perMs * 1000)} per second` : "";
    if (total === null) return `${size(bytes)}${speed}`;
    const left = perMs > 0 ? `, ${duration((total - bytes) / perMs)} left` : "";
    return `${gauge(bytes, total)}  ${size(bytes)} of ${size(total)}${speed}${left}`;
  }
}
