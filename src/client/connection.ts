/**
 * Connection: the body of one response as the messages that arrived whole.
 *
 * @module
 */
import { createParser } from "eventsource-parser";

/** One block of the event stream. */
export interface Message {
  /** Cursor after this block. */
  readonly id: string | undefined;
  /** Name of the event. */
  readonly event?: string | undefined;
  /** Absent in a block that only moves the cursor. */
  readonly data?: string;
}

/** What is told beside the messages. */
export interface ConnectionEvents {
  /** The server says how long to wait before the next connection. */
  readonly onRetry: (ms: number) => void;
  /** A ping: the server is at work. */
  readonly onPing: () => void;
}

/** Reads one response. A message that is torn at the end never counts, nor does its id. */
export class Connection {
  /** What broke it; undefined where it just ended. */
  failure: unknown;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #silenceMs: number;
  readonly #decoder = new TextDecoder();
  readonly #messages: Message[] = [];
  readonly #parser: ReturnType<typeof createParser>;
  #comments = 0;

  /** @param silenceMs after so long without a byte it counts as cut; 0 is never */
  constructor(
    body: ReadableStream<Uint8Array>,
    silenceMs: number,
    { onRetry, onPing }: ConnectionEvents,
  ) {
    this.#reader = body.getReader();
    this.#silenceMs = silenceMs;
    this.#parser = createParser({
      onRetry,
      onId: (id) => this.#messages.push({ id }),
      onEvent: ({ id, event, data }) => {
        // Its id was told a moment ago, as if it stood alone.
        if (id !== undefined) this.#messages.pop();
        this.#messages.push({ id, event, data });
      },
      // The first comment belongs to the preamble, which says only that somebody answers.
      onComment: () => {
        if (this.#comments++ > 0) onPing();
      },
    });
  }

  /** The next message; undefined where the connection ended, was cut or fell silent. */
  async next(): Promise<Message | undefined> {
    while (this.#messages.length === 0) {
      const bytes = await this.#read();
      if (bytes === undefined) return undefined;
      this.#parser.feed(this.#decoder.decode(bytes, { stream: true }));
    }
    return this.#messages.shift();
  }

  /** Lets go of it; whoever waits in `next()` gets undefined. */
  close(): void {
    // A connection that broke cannot be cancelled, which is fine.
    this.#reader.cancel().catch(() => undefined);
  }

  async #read(): Promise<Uint8Array | undefined> {
    const timer = this.#silenceMs === 0 ? undefined : setTimeout(() => {
      this.failure = new Error(`Nothing arrived for ${this.#silenceMs} ms`);
      this.close();
    }, this.#silenceMs);
    try {
      const { value } = await this.#reader.read();
      return value;
    } catch (thrown) {
      this.failure ??= thrown;
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}
