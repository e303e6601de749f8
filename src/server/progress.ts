/**
 * Progress: what readers of a stream hear beside its log while they wait for the first token.
 *
 * @module
 */
import type { NoticeEvent } from "../stream/event.ts";
import type { Entry, StreamReader } from "../stream/reader.ts";

/** The newest notice of one generation; those that nobody took in time are forgotten. */
export class Progress {
  #newest: NoticeEvent | undefined;
  #changed = Promise.withResolvers<void>();

  /** Takes a notice; undefined where what was told holds no longer. */
  tell(notice: NoticeEvent | undefined): void {
    this.#newest = notice;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** The newest notice that is not `seen`; waits for it. */
  async after(seen: NoticeEvent | undefined): Promise<NoticeEvent> {
    while (this.#newest === undefined || this.#newest === seen) await this.#changed.promise;
    return this.#newest;
  }
}

/** A reader with ears: it hears notices too, until it has read a token. */
export class Listener {
  readonly #reader: StreamReader;
  #progress: Progress | undefined;
  #seen: NoticeEvent | undefined;
  /** Waits on, whatever is heard meanwhile. */
  #entry: Promise<Entry | undefined> | undefined;

  /** @param progress undefined where nobody asked for it */
  constructor(reader: StreamReader, progress: Progress | undefined) {
    this.#reader = reader;
    this.#progress = progress;
  }

  /** The next event of the log as `StreamReader.next` gives it, or a notice before it. */
  next(): Promise<Entry | NoticeEvent | undefined> {
    return this.#progress === undefined ? this.#reader.next() : this.#either(this.#progress);
  }

  async #either(progress: Progress): Promise<Entry | NoticeEvent | undefined> {
    this.#entry ??= this.#reader.next();
    const heard = await Promise.race([this.#entry, progress.after(this.#seen)]);
    if (heard !== undefined && "type" in heard) return this.#seen = heard;
    this.#entry = undefined;
    if (heard?.event.type !== "start") this.#progress = undefined;
    return heard;
  }
}
