/**
 * One reader of the soak, on a bare socket: Bun runs only so many fetches at once, and a fetch
 * cannot stop to read.
 *
 * @module
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** Longest piece of a message that may be torn between two packets. */
const CARRY_MAX = 512;
const MESSAGE = /"token":"due:(\d+)"[^}]*"position":(\d+)/g;

/** Reads positions and the times at which their tokens were due. */
export class SoakReader {
  readonly #socket: Socket;
  #carry = "";
  #head = "";
  /** How often each position came. */
  readonly #seen = new Map<number, number>();
  readonly #askedMs = Date.now();
  #lagsMs: number[] = [];
  /** Settles when the connection has ended. */
  readonly over: Promise<void>;
  /** The terminal event has come. */
  isComplete = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    socket.on("close", () => resolve());
    // A connection that is reset has ended; what it lost is counted.
    socket.on("error", () => resolve());
    socket.setEncoding("latin1");
    socket.on("data", (text) => this.take(String(text), Date.now()));
  }

  /** Sends a request; one with a body makes a stream. */
  static async open(url: string, path: string, body?: unknown): Promise<SoakReader> {
    const { port, hostname, host } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, "connect");
    const reader = new SoakReader(socket);
    const text = body === undefined ? "" : JSON.stringify(body);
    const method = body === undefined ? "GET" : "POST";
    socket.write(
      `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n` +
        `Content-Length: ${text.length}\r\n\r\n${text}`,
    );
    return reader;
  }

  /** Id of its stream, once the head of the answer has come; rejects where there is none. */
  async id(): Promise<string> {
    while (!this.#head.includes("\r\n\r\n")) await once(this.#socket, "data");
    const id = /^x-stream-id: (.*)\r$/im.exec(this.#head)?.[1];
    if (id === undefined) throw new RangeError(`No stream: ${this.#head.slice(0, 200)}`);
    return id;
  }

  /** Takes what has come. Lengths of chunks stand between messages and are passed over. */
  take(text: string, nowMs: number): void {
    if (!this.#head.includes("\r\n\r\n")) this.#head += text;
    const all = this.#carry + text;
    let end = 0;
    for (const match of all.matchAll(MESSAGE)) {
      end = match.index + match[0].length;
      const position = Number(match[2]);
      this.#seen.set(position, (this.#seen.get(position) ?? 0) + 1);
      this.#lagsMs.push(nowMs - Math.max(Number(match[1]), this.#askedMs));
    }
    if (all.includes("event: complete")) this.#complete();
    this.#carry = all.slice(Math.max(end, all.length - CARRY_MAX));
  }

  /**
   * Milliseconds from when a token was due, or asked for if that was later, to its coming; of those
   * that came since last time.
   */
  takeLags(): number[] {
    const lags = this.#lagsMs;
    this.#lagsMs = [];
    return lags;
  }

  #complete(): void {
    this.isComplete = true;
    this.#socket.end();
  }

  /** Positions from 1 to `tokens` that never came. */
  lost(tokens: number): number {
    let lost = 0;
    for (let position = 1; position <= tokens; position++) {
      if (!this.#seen.has(position)) lost++;
    }
    return lost;
  }

  /** Messages that came again. */
  get duplicated(): number {
    return [...this.#seen.values()].reduce((sum, count) => sum + count - 1, 0);
  }

  /** Reads nothing from now on, so that the buffers of the connection fill. */
  stall(): void {
    this.#socket.pause();
  }

  /** Leaves. */
  close(): void {
    this.#socket.destroy();
  }
}
