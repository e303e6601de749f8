/**
 * ChunkGroup: several events in one chunk of bytes, to spare writes; the bytes stay the same.
 *
 * @module
 */
import type { StreamingOptions } from "./config.ts";

/** Gives the next event's bytes, undefined after the last; called again once it has settled. */
export type PullChunk = () => Promise<Uint8Array | undefined>;

/** Calls once, after so many milliseconds, unless the function that it gives is called before. */
export type StartTimer = (call: () => void, ms: number) => () => void;

const startTimeout: StartTimer = (call, ms) => {
  const timer = setTimeout(call, ms);
  return () => clearTimeout(timer);
};

/** One chunk with the bytes of all; a single one is not copied. */
function join(chunks: readonly Uint8Array[]): Uint8Array | undefined {
  if (chunks.length < 2) return chunks[0];
  const joined = new Uint8Array(chunks.reduce((bytes, { length }) => bytes + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}

/**
 * Joins chunks: `bufferSize` of them, or those that came within `flushIntervalMs` after the first.
 *
 * Pull-driven: it reads only while somebody waits in `next`, and at most one read goes on after a
 * group was given out because its time was up. What that read brings opens the next group.
 */
export class ChunkGroup {
  readonly #pull: PullChunk;
  readonly #options: Readonly<Pick<StreamingOptions, "bufferSize" | "flushIntervalMs">>;
  readonly #startTimer: StartTimer;
  #waiting: Uint8Array[] = [];
  /** The first chunk that waits has waited long enough. */
  #isDue = false;
  #stopTimer: (() => void) | undefined;
  #isReading = false;
  /** Nothing more is read: the source has ended or failed, or `stop` was called. */
  #isStopped = false;
  #failure: { thrown: unknown } | undefined;
  #wake: (() => void) | undefined;

  /**
   * Groups what `pull` gives.
   *
   * @param pull gives one event's bytes a call
   * @param options a StreamingConfig, or the two fields of it that matter here
   * @param startTimer `setTimeout` by default
   */
  constructor(
    pull: PullChunk,
    options: Readonly<Pick<StreamingOptions, "bufferSize" | "flushIntervalMs">>,
    startTimer: StartTimer = startTimeout,
  ) {
    this.#pull = pull;
    this.#options = options;
    this.#startTimer = startTimer;
  }

  /**
   * The next group, undefined after the last; to be called again only when it has settled.
   *
   * @throws what `pull` rejects with, after everything that it gave before
   */
  async next(): Promise<Uint8Array | undefined> {
    while (!this.#isReady()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      void this.#read();
      await promise;
    }
    return this.#take();
  }

  /**
   * Reads nothing further and gives out at once what waits.
   *
   * Nothing is lost: what was read, or is being read, is still given by `next`, and then the end.
   * Cancel the source too, so that a read that is going on settles.
   */
  stop(): void {
    this.#isStopped = true;
    this.#wake?.();
  }

  #isReady(): boolean {
    if (this.#waiting.length === 0) return this.#isStopped && !this.#isReading;
    return this.#isDue || this.#isStopped || this.#waiting.length >= this.#options.bufferSize;
  }

  #take(): Uint8Array | undefined {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#isDue = false;
    const group = join(this.#waiting);
    this.#waiting = [];
    if (group !== undefined || this.#failure === undefined) return group;
    const { thrown } = this.#failure;
    this.#failure = undefined;
    throw thrown;
  }

  async #read(): Promise<void> {
    if (this.#isReading || this.#isStopped) return;
    this.#isReading = true;
    try {
      const chunk = await this.#pull();
      if (chunk === undefined) this.#isStopped = true;
      else this.#keep(chunk);
    } catch (thrown) {
      this.#failure = { thrown };
      this.#isStopped = true;
    }
    this.#isReading = false;
    this.#wake?.();
  }

  #keep(chunk: Uint8Array): void {
    this.#waiting.push(chunk);
    // The time runs from here also where nobody asks yet, so a late reader waits no longer.
    if (this.#waiting.length > 1 || this.#options.bufferSize === 1) return;
    if (this.#options.flushIntervalMs === 0) this.#isDue = true;
    else {
      this.#stopTimer = this.#startTimer(() => {
        this.#isDue = true;
        this.#wake?.();
      }, this.#options.flushIntervalMs);
    }
  }
}
