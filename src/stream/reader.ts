/**
 * StreamReader: one reader of a stream: a seq, and the wait for the next event.
 *
 * @module
 */
import type { StreamEvent } from "./event.ts";
import type { Stream } from "./stream.ts";

/** An event with its place. */
export interface Entry {
  /** 0 for the start event, 1 for the first token. */
  readonly seq: number;
  /** The event itself. */
  readonly event: StreamEvent;
}

/** Reads one stream from a seq on; `Stream.attach` makes it. */
export class StreamReader {
  readonly #stream: Stream;
  #seq: number;
  /** Events that were read together, and how many of them were given out. */
  #batch: StreamEvent[] = [];
  #at = 0;
  /** `performance.now()` since when nothing was asked for; Infinity while it waits. */
  idleSince: number = performance.now();
  /** Told once when the reader leaves. */
  onClose: (() => void) | undefined;
  /** Told when the reader is put out because it does not read. */
  onEvict: (() => void) | undefined;

  /**
   * A reader of `stream`; use `Stream.attach`.
   *
   * @param seq of the first event that it wants
   */
  constructor(stream: Stream, seq: number) {
    this.#stream = stream;
    this.#seq = seq;
  }

  /**
   * The next event; waits for it. Undefined after the terminal one, and where the stream was left
   * to another process.
   *
   * @throws RequestError `stream_evicted` (410) where it has fallen behind what is kept
   */
  async next(): Promise<Entry | undefined> {
    this.idleSince = Infinity;
    try {
      while (this.#at === this.#batch.length) {
        const { ended, suspended, end } = this.#stream;
        if (this.#seq < end) {
          const events = this.#stream.read(this.#seq);
          this.#batch = events instanceof Promise ? await events : events;
          this.#at = 0;
        } else if (ended || suspended) return undefined;
        else await this.#stream.want(this.#seq);
      }
      return this.take();
    } finally {
      this.idleSince = performance.now();
    }
  }

  /** The next event where it was read with others; undefined where it has to be waited for. */
  take(): Entry | undefined {
    const event = this.#batch[this.#at];
    if (event === undefined) return undefined;
    this.#at++;
    return { seq: this.#seq++, event };
  }

  /** Id of the stream that it reads. */
  get stream(): string {
    return this.#stream.record.id;
  }

  /** Puts it out: it has not read for too long. */
  evict(): void {
    void this.close();
    this.onEvict?.();
  }

  /**
   * Leaves the stream. Resolves at once, or where that ended the generation, when it is over.
   */
  close(): Promise<void> {
    this.onClose?.();
    this.onClose = undefined;
    return this.#stream.detach(this);
  }
}
