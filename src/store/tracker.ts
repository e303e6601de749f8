/**
 * DownloadTracker: tells any number of readers how far downloads are.
 *
 * Nobody waits for a reader. Each has a bounded queue, in which a newer progress takes the place of
 * an older one of the same download; a reader that lets its queue stand or overflow is put out, and
 * may come again: a new reader first hears of everything that runs.
 *
 * @module
 */
import { OverloadedError } from "../errors.ts";

/** What happens to one download. */
export type DownloadEvent =
  | { readonly type: "started"; readonly modelRef: string }
  | {
    readonly type: "progress";
    readonly modelRef: string;
    /** Bytes that are there. */
    readonly bytes: number;
    /** Bytes of the whole; null while that is unknown. */
    readonly total: number | null;
  }
  | { readonly type: "complete"; readonly modelRef: string }
  | { readonly type: "error"; readonly modelRef: string; readonly message: string };

type ProgressEvent = Extract<DownloadEvent, { type: "progress" }>;

/** Limits of a tracker; every one has a default. */
export interface TrackerLimits {
  /** Most readers at once. Default 64. */
  readonly readers?: number;
  /** Most events that wait for one reader. Default 100. */
  readonly queue?: number;
  /** Milliseconds that an event may wait for its reader before that is put out. Default 30 s. */
  readonly stallMs?: number;
  /** A clock in milliseconds. Default `performance.now`. */
  readonly now?: () => number;
}

/** How many readers there are and were. */
export interface TrackerCounts {
  /** Downloads that run. */
  readonly running: number;
  /** Readers that there are. */
  readonly readers: number;
  /** Readers that were put out because they did not read. */
  readonly evicted: number;
  /** Readers that were refused because there were too many. */
  readonly refused: number;
}

/** Seconds after which a refused reader may come again. */
const RETRY_AFTER_S = 5;

/** One reader's events; leave it by `close`, or by leaving the loop over it. */
export class DownloadReader implements AsyncIterable<DownloadEvent>, Disposable {
  readonly #queue: { readonly event: DownloadEvent; readonly sinceMs: number }[] = [];
  readonly #leave: () => void;
  #wake: (() => void) | undefined;
  #isOver = false;
  /** Told once, when the reader is put out or the tracker ends. */
  onEnd: (() => void) | undefined;
  /** The one download that it hears of; undefined is all. */
  readonly modelRef: string | undefined;

  /** Use `DownloadTracker.subscribe`. */
  constructor(modelRef: string | undefined, leave: () => void) {
    this.modelRef = modelRef;
    this.#leave = leave;
  }

  /** Events that wait. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** When the oldest event that waits was put there; undefined where none waits. */
  get sinceMs(): number | undefined {
    return this.#queue[0]?.sinceMs;
  }

  /** Adds an event. For the tracker. */
  push(event: DownloadEvent, sinceMs: number): void {
    const older = event.type === "progress"
      ? this.#queue.findIndex((each) =>
        each.event.type === "progress" && each.event.modelRef === event.modelRef
      )
      : -1;
    if (older >= 0) this.#queue[older] = { event, sinceMs: this.#queue[older]!.sinceMs };
    else this.#queue.push({ event, sinceMs });
    this.#wake?.();
  }

  /** Ends it from the tracker's side: what waits is dropped. */
  end(): void {
    if (this.#isOver) return;
    this.close();
    this.onEnd?.();
  }

  /** The next event; undefined once the reader is closed or was put out. One call at a time. */
  async next(): Promise<DownloadEvent | undefined> {
    while (!this.#isOver && this.#queue.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#isOver ? undefined : this.#queue.shift()!.event;
  }

  /** Leaves the tracker, and wakes who waits for the next event. */
  close(): void {
    this.#isOver = true;
    this.#queue.length = 0;
    this.#leave();
    this.#wake?.();
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The events until the end; leaving the loop closes the reader. */
  async *[Symbol.asyncIterator](): AsyncGenerator<DownloadEvent, void, undefined> {
    try {
      for (let event = await this.next(); event; event = await this.next()) yield event;
    } finally {
      this.close();
    }
  }
}

/** Downloads that run, and who listens; see the module. */
export class DownloadTracker {
  readonly #limits: Required<TrackerLimits>;
  readonly #readers = new Set<DownloadReader>();
  /** The last progress of each download that runs. */
  readonly #running = new Map<string, ProgressEvent | undefined>();
  #evicted = 0;
  #refused = 0;

  /**
   * A tracker of no downloads yet.
   *
   * @param limits each has a default
   */
  constructor(limits: TrackerLimits = {}) {
    this.#limits = {
      readers: 64,
      queue: 100,
      stallMs: 30_000,
      now: () => performance.now(),
      ...limits,
    };
  }

  /** How many downloads and readers there are. */
  get counts(): TrackerCounts {
    return {
      running: this.#running.size,
      readers: this.#readers.size,
      evicted: this.#evicted,
      refused: this.#refused,
    };
  }

  /** A download begins. */
  started(modelRef: string): void {
    this.#running.set(modelRef, undefined);
    this.#publish({ type: "started", modelRef });
  }

  /** A download has so many bytes of `total`, or of an unknown number. */
  progress(modelRef: string, bytes: number, total: number | null): void {
    const event: ProgressEvent = { type: "progress", modelRef, bytes, total };
    this.#running.set(modelRef, event);
    this.#publish(event);
  }

  /** A download has ended and its file is there. */
  complete(modelRef: string): void {
    this.#running.delete(modelRef);
    this.#publish({ type: "complete", modelRef });
  }

  /**
   * A download has failed.
   *
   * @param message a sentence that anybody may read
   */
  failed(modelRef: string, message: string): void {
    this.#running.delete(modelRef);
    this.#publish({ type: "error", modelRef, message });
  }

  /**
   * A new reader. It first gets `started` and the last progress of each download that runs.
   *
   * @param modelRef only this one; default all
   * @throws {OverloadedError} when there are too many readers
   */
  subscribe(modelRef?: string): DownloadReader {
    if (this.#readers.size >= this.#limits.readers) {
      this.#refused++;
      throw new OverloadedError(
        `Cannot follow the downloads: ${this.#readers.size} readers do, no more are allowed`,
        RETRY_AFTER_S,
        "overloaded",
        "downloads.readers",
      );
    }
    const reader: DownloadReader = new DownloadReader(
      modelRef,
      () => void this.#readers.delete(reader),
    );
    const now = this.#limits.now();
    for (const [running, last] of this.#running) {
      if (modelRef !== undefined && modelRef !== running) continue;
      reader.push({ type: "started", modelRef: running }, now);
      if (last !== undefined) reader.push(last, now);
    }
    this.#readers.add(reader);
    return reader;
  }

  /** Ends every reader. */
  close(): void {
    for (const reader of [...this.#readers]) reader.end();
  }

  #publish(event: DownloadEvent): void {
    const now = this.#limits.now();
    for (const reader of [...this.#readers]) {
      if (reader.modelRef !== undefined && reader.modelRef !== event.modelRef) continue;
      const isStalled = now - (reader.sinceMs ?? now) >= this.#limits.stallMs;
      if (!isStalled) reader.push(event, now);
      if (!isStalled && reader.waiting <= this.#limits.queue) continue;
      this.#evicted++;
      reader.end();
    }
  }
}
