/**
 * A client on a bare socket: exact bytes out, exact bytes in, and every way to go away.
 *
 * @module
 */
import { connect, type Socket } from "node:net";

/** How a client leaves: FIN of both sides, RST, or FIN of its own side while it reads on. */
export type Leave = "fin" | "rst" | "half";

/** One connection. */
export class RawClient {
  readonly #socket: Socket;
  /** All that has come. */
  received = "";
  #bytes = 0;
  #isClosed = false;
  #waiting: { condition: () => boolean; resolve: () => void; reject: (error: Error) => void }[] =
    [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes: Uint8Array) => {
      this.#bytes += bytes.length;
      this.received += new TextDecoder().decode(bytes);
      this.#check();
    });
    // A reset by the server is an end like any other.
    socket.on("error", () => this.#close());
    socket.on("close", () => this.#close());
  }

  /** Opens a connection to a local port. */
  static open(port: number): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => resolve(new RawClient(socket)));
      socket.once("error", reject);
    });
  }

  /** Bytes that have come. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether the connection is closed. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  send(text: string): void {
    this.#socket.write(text);
  }

  /** Sends a POST; the body follows its head in a packet of its own, as most clients send it. */
  async post(path: string, body: unknown, headers = ""): Promise<void> {
    const text = JSON.stringify(body);
    const length = new TextEncoder().encode(text).length;
    this.send(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n${headers}\r\n`,
    );
    await new Promise((resolve) => setTimeout(resolve, 2));
    this.send(text);
  }

  /** Resolves once `text` has come; rejects where the connection ends before. */
  until(text: string): Promise<void> {
    return this.when(() => this.received.includes(text));
  }

  /** Resolves once the condition holds; looked at whenever bytes come. */
  when(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ condition, resolve, reject });
      this.#check();
    });
  }

  /** Resolves once the connection is closed. */
  async closed(): Promise<void> {
    await this.when(() => this.#isClosed);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  leave(how: Leave): void {
    if (how === "rst") this.#socket.resetAndDestroy();
    else if (how === "fin") this.#socket.destroy();
    else this.#socket.end();
  }

  #close(): void {
    this.#isClosed = true;
    this.#check();
  }

  #check(): void {
    this.#waiting = this.#waiting.filter(({ condition, resolve, reject }) => {
      if (condition()) resolve();
      else if (this.#isClosed) {
        reject(new Error(`The connection was closed after ${JSON.stringify(this.received)}`));
      } else return true;
      return false;
    });
  }
}
