/**
 * Streams: every stream of a server by its id, with their limits, their keys and their end.
 *
 * @module
 */
import { OverloadedError, RequestError } from "../errors.ts";
import { type Cursor, parseCursor } from "./cursor.ts";
import type { StreamEvent } from "./event.ts";
import { checkLimits, type StreamCounts, type StreamLimits } from "./limits.ts";
import type { StreamNote } from "./note.ts";
import type { StreamReader } from "./reader.ts";
import type { StreamSource } from "./source.ts";
import type { StreamRecord, StreamStore } from "./store.ts";
import { type OnDisconnect, Stream, type StreamParts } from "./stream.ts";

/** How streams are kept and continued. */
export interface StreamsOptions {
  /** Limits that differ from the defaults. */
  readonly limits?: StreamLimits | undefined;
  /** Where streams outlive the process. Default nowhere. */
  readonly store?: StreamStore | undefined;
  /**
   * Goes on where a lost process stopped.
   *
   * @throws RequestError where that is refused for good; any other failure is for now
   */
  readonly revive: (record: StreamRecord, events: readonly StreamEvent[]) => Promise<StreamSource>;
  /** A request as it is after a change. */
  readonly amend: (request: unknown, change: unknown) => unknown;
  /** What to do when the last reader of a stream that is found in the store goes. */
  readonly onDisconnectOf: (record: StreamRecord) => OnDisconnect;
  /** Told of failures, `isOfStore` where the store has failed. */
  readonly report: (failure: unknown, isOfStore?: boolean) => void;
  /** Told of what happens. Default nobody. */
  readonly note?: ((note: StreamNote) => void) | undefined;
}

/** A new stream. */
export interface NewStream {
  /** Id, owner and request. */
  readonly record: StreamRecord;
  /** What happens when its last reader goes before the end. */
  readonly onDisconnect: OnDisconnect;
  /** False keeps it out of the store. */
  readonly isStored: boolean;
  /** Its start event. */
  readonly start: StreamEvent;
  /** Where the other events come from. */
  readonly source: StreamSource;
}

/** Ids of dropped streams that are remembered, to tell them from strangers. */
const TOMBSTONES_MAX = 10_000;
/** How often readers are looked after, at most. */
const WATCH_MS_MIN = 50;
/** How long between two sweeps of the store. */
const SWEEP_MS = 60_000;
const RETRY_AFTER_S = 1;

/** All streams; see the module. */
export class Streams {
  /** The limits in force. */
  readonly limits: Required<StreamLimits>;
  readonly #options: StreamsOptions;
  readonly #holder: string = crypto.randomUUID();
  readonly #streams = new Map<string, Stream>();
  readonly #opening = new Map<string, Promise<Stream | undefined>>();
  /** Owner of each dropped stream by its id. */
  readonly #dropped = new Map<string, string>();
  /** Ids by owner and idempotency key, where no store binds them. */
  readonly #keys = new Map<string, string>();
  readonly #attachedAt = new Map<StreamReader, number>();
  readonly #counts = {
    pauses: 0,
    resumed: 0,
    revived: 0,
    refusedReaders: 0,
    refusedStreams: 0,
    stalledReaders: 0,
    expiredReaders: 0,
    droppedEvents: 0,
    endedPauses: 0,
    droppedStreams: 0,
    crowdedStreams: 0,
    sweptStreams: 0,
    storeFailures: 0,
  };
  #watch: ReturnType<typeof setInterval> | undefined;
  #sweptAt = 0;

  /**
   * No streams yet.
   *
   * @throws SluiceError `invalid_option` where a limit is no whole number from 0
   */
  constructor(options: StreamsOptions) {
    this.#options = options;
    this.limits = checkLimits(options.limits ?? {});
  }

  /** What there is, and which limits were met how often. */
  get counts(): StreamCounts {
    let running = 0, paused = 0, readers = 0, bytes = 0;
    for (const stream of this.#streams.values()) {
      if (!stream.ended) running++;
      if (stream.paused) paused++;
      readers += stream.readers;
      bytes += stream.bytes;
    }
    return { running, paused, streams: this.#streams.size, readers, bytes, ...this.#counts };
  }

  /** Some stream is ahead of its store. */
  get degraded(): boolean {
    return [...this.#streams.values()].some((stream) => stream.degraded);
  }

  /** Streams that run here. */
  get running(): Stream[] {
    return [...this.#streams.values()].filter((stream) => !stream.ended);
  }

  /**
   * Sees that the owner may have one more stream, before anything is computed.
   *
   * @throws OverloadedError (429)
   */
  admit(owner: string): void {
    const mine =
      this.running.filter((stream) => stream.record.owner === owner && !stream.isElsewhere).length;
    if (mine < this.limits.streamsMax) return;
    this.#counts.refusedStreams++;
    throw new OverloadedError(
      `Cannot start a stream: ${mine} of yours run, expected fewer than ${this.limits.streamsMax}, ` +
        "wait for one to end",
      RETRY_AFTER_S,
      "overloaded",
      "streams.streamsMax",
    );
  }

  /** Takes a new stream. */
  async create({ record, onDisconnect, isStored, start, source }: NewStream): Promise<Stream> {
    this.#sweep();
    const store = isStored ? this.#options.store : undefined;
    const isRefused = store !== undefined && !await this.#keep(store, record);
    const parts = { ...this.#parts(record, onDisconnect), store, isRefused };
    return this.#take(Stream.begin(parts, start, source), "begun");
  }

  #take(stream: Stream, type: "begun" | "found"): Stream {
    const { id } = stream.record;
    this.#streams.set(id, stream);
    this.#note({ type, id });
    void stream.over.then(() => this.#note({ type: "ended", id, events: stream.end }));
    return stream;
  }

  #note(note: StreamNote): void {
    this.#options.note?.(note);
  }

  /** Brings a new stream to the store; false where that fails: it is worth more than its copy. */
  async #keep(store: StreamStore, record: StreamRecord): Promise<boolean> {
    try {
      await store.create(record);
      if (store.shared) await store.claim(record.id, this.#holder, this.limits.leaseMs);
      return true;
    } catch (failure) {
      this.#report(failure);
      return false;
    }
  }

  /**
   * The stream of an id, from memory or from the store.
   *
   * @throws RequestError `stream_not_found` (404), or `stream_evicted` (410) where it was here
   */
  async open(id: string, owner: string): Promise<Stream> {
    const stream = this.#streams.get(id) ?? await this.#find(id);
    if (stream?.record.owner === owner) return stream;
    if (this.#dropped.get(id) === owner) {
      throw new RequestError(
        `Cannot find the stream "${id}": it ended and was dropped, start it anew`,
        [],
        { code: "stream_evicted", status: 410 },
      );
    }
    throw new RequestError(
      `Cannot find the stream "${id.slice(0, 64)}": there is none of that id`,
      [],
      { code: "stream_not_found", status: 404 },
    );
  }

  /**
   * The stream that an owner's idempotency key stands for: `id`, unless the key was used before.
   */
  async bind(owner: string, key: string, id: string): Promise<string> {
    const name = `${owner}\n${key}`;
    const known = this.#keys.get(name);
    if (known !== undefined) return known;
    // Set before anything is waited for, so that two requests at once get one stream.
    this.#keys.set(name, id);
    if (this.#options.store === undefined) return id;
    try {
      const bound = await this.#options.store.bind(owner, key, id);
      this.#keys.set(name, bound);
      return bound;
    } catch (failure) {
      this.#report(failure);
      return id;
    }
  }

  /** Frees a key where its request came to nothing: no stream has the id that it stands for. */
  async unbind(owner: string, key: string, id: string): Promise<void> {
    const name = `${owner}\n${key}`;
    if (this.#keys.get(name) !== id || this.#streams.has(id)) return;
    this.#keys.delete(name);
    try {
      await this.#options.store?.remove(id);
    } catch (failure) {
      this.#report(failure);
    }
  }

  /** The place that a client's cursor names, or undefined where it gave none. */
  cursor(text: string | undefined, stream: Stream): Cursor | undefined {
    if (text === undefined) return undefined;
    const cursor = parseCursor(text, stream.record.id);
    if (cursor.seq < stream.end) return cursor;
    throw new RequestError(
      `Cannot resume the stream at ${cursor.seq}: its last event is ${stream.end - 1}`,
      [],
      { code: "cursor_past_end", status: 409 },
    );
  }

  /**
   * Attaches a reader that has everything before `seq`.
   *
   * @throws OverloadedError (429) where the stream has too many
   * @throws RequestError `stream_evicted` (410) where its events are gone
   */
  async attach(stream: Stream, seq: number, isResumed: boolean): Promise<StreamReader> {
    if (stream.readers >= this.limits.readersMax) {
      this.#counts.refusedReaders++;
      throw new OverloadedError(
        `Cannot read the stream: it has ${stream.readers} readers, expected fewer than ` +
          `${this.limits.readersMax}, try again later`,
        RETRY_AFTER_S,
        "overloaded",
        "streams.readersMax",
      );
    }
    // A place that is gone must be told by a status, before the headers.
    if (seq < stream.end) await stream.read(seq);
    if (isResumed) this.#counts.resumed++;
    const reader = stream.attach(seq);
    this.#attachedAt.set(reader, performance.now());
    const { readers, record: { id } } = stream;
    this.#note({ type: "joined", id, seq, isResumed, readers });
    reader.onClose = () => {
      this.#note({ type: "left", id, readers: stream.readers - 1 });
      this.#attachedAt.delete(reader);
      if (this.#attachedAt.size === 0) this.#endWatch();
    };
    this.#watch ??= setInterval(() => this.#lookAfterReaders(), this.#watchMs());
    return reader;
  }

  /** Continues what a lost process left running and must not wait for a reader. */
  async recover(): Promise<void> {
    const { store, onDisconnectOf } = this.#options;
    if (store === undefined) return;
    try {
      for (const id of await store.unfinished()) {
        const stored = await store.find(id);
        if (stored === undefined || onDisconnectOf(stored.record) !== "continue") continue;
        await this.#find(id);
      }
    } catch (failure) {
      this.#report(failure);
    }
  }

  /** Ends what is left and lets go of the store. */
  async close(): Promise<void> {
    this.#endWatch();
    await this.#options.store?.[Symbol.asyncDispose]();
  }

  #parts(record: StreamRecord, onDisconnect: OnDisconnect): StreamParts {
    const { logBytesMax, storeTimeoutMs, pauseMs, leaseMs } = this.limits;
    return {
      record,
      onDisconnect,
      store: this.#options.store,
      holder: this.#holder,
      logBytesMax,
      onDrop: (events) => this.#counts.droppedEvents += events,
      onContinue: (seq, ms) => {
        this.#counts.pauses++;
        this.#note({ type: "continued", id: record.id, seq, ms });
      },
      onPauseEnd: () => this.#counts.endedPauses++,
      storeTimeoutMs,
      pauseMs,
      leaseMs,
      report: (failure) => this.#report(failure),
      amend: this.#options.amend,
      revive: (known, events) => this.#revive(known, events),
    };
  }

  async #revive(record: StreamRecord, events: readonly StreamEvent[]): Promise<StreamSource> {
    try {
      const source = await this.#options.revive(record, events);
      this.#counts.revived++;
      this.#note({ type: "revived", id: record.id });
      return source;
    } catch (refusal) {
      // The store has no part in it.
      this.#options.report(refusal);
      throw refusal;
    }
  }

  #report(failure: unknown): void {
    this.#counts.storeFailures++;
    this.#options.report(failure, true);
  }

  /** Opens a stored stream once, however many ask at the same time. */
  #find(id: string): Promise<Stream | undefined> {
    const { store } = this.#options;
    if (store === undefined || !/^[0-9a-f]{32}$/.test(id)) return Promise.resolve(undefined);
    const opening = this.#opening.get(id) ?? this.#load(store, id);
    this.#opening.set(id, opening);
    return opening.finally(() => this.#opening.delete(id));
  }

  async #load(store: StreamStore, id: string): Promise<Stream | undefined> {
    const stored = await store.find(id);
    if (stored === undefined) return undefined;
    const onDisconnect = this.#options.onDisconnectOf(stored.record);
    const stream = await Stream.open(this.#parts(stored.record, onDisconnect), store, stored);
    return this.#take(stream, "found");
  }

  #watchMs(): number {
    const { stallMs, subscriberMs } = this.limits;
    const shortest = Math.min(stallMs || Infinity, subscriberMs || Infinity, 60_000);
    return Math.max(WATCH_MS_MIN, Math.floor(shortest / 4));
  }

  /** Puts out the readers that do not read, and those that have been there too long. */
  #lookAfterReaders(): void {
    const { stallMs, subscriberMs } = this.limits;
    const now = performance.now();
    for (const stream of this.#streams.values()) {
      for (const reader of stallMs > 0 ? stream.stalled(now - stallMs) : []) {
        this.#counts.stalledReaders++;
        this.#note({ type: "evicted", id: stream.record.id, why: "stalled" });
        reader.evict();
      }
    }
    for (const [reader, at] of this.#attachedAt) {
      if (subscriberMs === 0 || now - at <= subscriberMs) continue;
      this.#counts.expiredReaders++;
      this.#note({ type: "evicted", id: reader.stream, why: "expired" });
      reader.evict();
    }
  }

  /** A timer without readers would keep the program alive. */
  #endWatch(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }

  /** Drops streams that nothing happens to and that are too old or too much, oldest first. */
  #sweep(): void {
    const { ageMs, memoryBytesMax, storeAgeMs } = this.limits;
    const now = Date.now();
    let { bytes } = this.counts;
    const gone = new Set<string>();
    for (const [id, stream] of this.#streams) {
      const isIdle = stream.idleSince > 0;
      const isOld = isIdle && now - stream.idleSince >= ageMs;
      const isTooMuch = isIdle && bytes > memoryBytesMax;
      if (!(isOld || isTooMuch) || stream.readers > 0) continue;
      this.#streams.delete(id);
      gone.add(id);
      // It is followed no further; whoever wants it finds it in the store again.
      if (!stream.ended) stream.suspend();
      bytes -= stream.bytes;
      if (stream.stored) continue;
      this.#counts.droppedStreams++;
      if (!isOld) this.#counts.crowdedStreams++;
      this.#dropped.set(id, stream.record.owner);
    }
    for (const id of this.#dropped.keys()) {
      if (this.#dropped.size <= TOMBSTONES_MAX) break;
      this.#dropped.delete(id);
    }
    for (const [name, id] of this.#keys) {
      // A store binds them still.
      if (gone.has(id)) this.#keys.delete(name);
    }
    if (now - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = now;
    this.#options.store?.sweep(now - storeAgeMs).then(
      (streams) => this.#counts.sweptStreams += streams,
      (failure) => this.#report(failure),
    );
  }
}
