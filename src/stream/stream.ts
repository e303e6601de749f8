/**
 * Stream: one answer as a value: its log, its readers, whoever makes its events, and its store.
 *
 * Demand drives it: the source is asked for an event when a reader waits at the end of the log.
 * Events are kept first and published then. A store that fails holds nobody up: the stream goes on
 * from memory and is written when the store is back.
 *
 * @module
 */
import { RequestError, SluiceError } from "../errors.ts";
import type { StreamEvent } from "./event.ts";
import { EventLog, isTerminal } from "./log.ts";
import { StreamReader } from "./reader.ts";
import {
  type StoredStream,
  StreamConflictError,
  type StreamRecord,
  type StreamStore,
} from "./store.ts";
import { StreamHoleError } from "./stores/hole.ts";
import { within } from "./within.ts";

/** Where the events after `start` come from; see `Run`. */
export interface StreamSource {
  /** The next event; never rejects, and gives exactly one terminal event. */
  next(): Promise<StreamEvent>;
  /** Asks for an early end; the terminal event still comes from `next()`. */
  stop(): void;
  /** Changes how it goes on; false, or absent, where it takes no changes. */
  steer?(change: unknown): boolean;
  /** Settles once it has given back what it held; never rejects. */
  readonly over: Promise<void>;
}

/** What happens when the last reader goes before the end. */
export type OnDisconnect = "cancel" | "continue" | "pause" | { readonly graceMs: number };

/** What a stream is made of. */
export interface StreamParts {
  /** Id, owner and request. */
  readonly record: StreamRecord;
  /** What happens when its last reader goes before the end. */
  readonly onDisconnect: OnDisconnect;
  /** Absent where the stream lives in memory only. */
  readonly store?: StreamStore | undefined;
  /** Names this process to a shared store. */
  readonly holder: string;
  /** Bytes of events in memory. */
  readonly logBytesMax: number;
  /** How long the store may take before an event is published without it. */
  readonly storeTimeoutMs: number;
  /** How long the right to append outlives its holder. */
  readonly leaseMs: number;
  /** Told of every failure of the store. */
  readonly report: (failure: unknown) => void;
  /** Goes on where a lost process stopped. */
  readonly revive: (record: StreamRecord, events: readonly StreamEvent[]) => Promise<StreamSource>;
}

/** Most events that one read brings. */
const READ_COUNT = 256;
/** Pause between two attempts to reach a store. */
const RETRY_MS = 500;
/** How long after its end a stream may still be written. */
const CATCH_UP_MS = 60_000;
/** Pause between two looks for readers of other processes. */
const DEMAND_MS = 100;

/** One answer; see the module. */
export class Stream {
  /** Id, owner and request; the request changes when the stream is steered. */
  record: StreamRecord;
  /** Settles when the terminal event is published. */
  readonly over: Promise<void>;
  readonly #parts: StreamParts;
  readonly #readers = new Set<StreamReader>();
  readonly #settle: () => void;
  readonly #log: EventLog;
  #source: StreamSource | undefined;
  /** Seq that a reader waits for. */
  #wanted = 0;
  #wake: (() => void) | undefined;
  #isStopping = false;
  /** A question to other processes is under way. */
  #isAsking = false;
  #isSuspended = false;
  #grace: ReturnType<typeof setTimeout> | undefined;
  /** Seq of the first event that the store does not have. */
  #kept = 0;
  /** The store failed, and events wait for it. */
  #isBehind = false;
  #store: StreamStore | undefined;
  /** `Date.now()` of the end, 0 before. */
  endedAt = 0;

  private constructor(parts: StreamParts, log: EventLog) {
    this.record = parts.record;
    this.#parts = parts;
    this.#store = parts.store;
    this.#log = log;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#settle = resolve;
  }

  /** A new stream. Its record is in the store already. */
  static begin(parts: StreamParts, start: StreamEvent, source: StreamSource): Stream {
    const stream = new Stream(parts, new EventLog(parts.logBytesMax));
    void stream.#run(source, start);
    return stream;
  }

  /** A stream that this process found in its store: ended, made elsewhere, or cut off. */
  static async open(
    parts: StreamParts,
    store: StreamStore,
    stored: StoredStream,
  ): Promise<Stream> {
    // The newest event says whether the stream has ended; older ones are read when wanted.
    const last = Math.max(stored.end - 1, stored.first);
    const log = new EventLog(parts.logBytesMax, last);
    for (const event of await store.read(parts.record.id, last, 1)) log.append(event);
    const stream = new Stream(parts, log);
    stream.#kept = log.end;
    if (log.ended) stream.#end();
    else void stream.#follow(store);
    return stream;
  }

  /** Seq of the next event. */
  get end(): number {
    return this.#log.end;
  }

  /** The terminal event is published. */
  get ended(): boolean {
    return this.#log.ended;
  }

  /** Bytes of its events in memory. */
  get bytes(): number {
    return this.#log.bytes;
  }

  /** Readers that are attached. */
  get readers(): number {
    return this.#readers.size;
  }

  /** Events are published that its store does not have. */
  get degraded(): boolean {
    return this.#parts.store !== undefined && (this.#isBehind || this.#store === undefined);
  }

  /** Nothing of it is only in memory any more. */
  get stored(): boolean {
    return this.#store !== undefined && !this.#isBehind;
  }

  /** Attaches a reader that has everything before `seq`. */
  attach(seq: number): StreamReader {
    clearTimeout(this.#grace);
    const reader = new StreamReader(this, seq);
    this.#readers.add(reader);
    return reader;
  }

  /**
   * Lets a reader go; the last one's leaving is what `onDisconnect` is about. Resolves at once, or
   * where that ended the generation, when it is over.
   */
  async detach(reader: StreamReader): Promise<void> {
    if (!this.#readers.delete(reader) || this.#readers.size > 0 || this.ended) return;
    const { onDisconnect } = this.#parts;
    if (onDisconnect === "cancel") {
      this.stop();
      await this.over;
    } else if (typeof onDisconnect === "object") {
      this.#grace = setTimeout(() => this.stop(), onDisconnect.graceMs);
    } else this.#wake?.();
  }

  /** Readers that have not asked for anything since `before`, though there is something. */
  stalled(before: number): StreamReader[] {
    return [...this.#readers].filter((reader) => reader.idleSince < before);
  }

  /** Ends the generation early; readers get the terminal event. */
  stop(): void {
    this.#isStopping = true;
    this.#source?.stop();
    this.#wake?.();
  }

  /**
   * Changes how it goes on, here and in whatever process continues it.
   *
   * @param request what it is asked for from now on
   * @returns false where its source takes no changes, or is in another process
   */
  async steer(change: unknown, request: unknown): Promise<boolean> {
    if (this.#source?.steer?.(change) !== true) return false;
    this.record = { ...this.record, request };
    await this.#store?.update(this.record.id, request).catch(this.#parts.report);
    return true;
  }

  /**
   * Leaves it as it is in its store, for the next process: readers end without a terminal event.
   */
  suspend(): void {
    this.#isSuspended = true;
    this.#log.touch();
    this.stop();
  }

  /** It was left to the next process. */
  get suspended(): boolean {
    return this.#isSuspended;
  }

  /**
   * Events from `seq` on; none where `seq` is the end.
   *
   * @throws RequestError `stream_evicted` (410) where they are kept nowhere any more
   */
  async read(seq: number): Promise<StreamEvent[]> {
    if (seq >= this.#log.first) return this.#log.read(seq, READ_COUNT);
    const count = Math.min(READ_COUNT, this.#log.first - seq);
    const events = await this.#store?.read(this.record.id, seq, count) ?? [];
    if (events.length > 0) return events;
    throw new RequestError(
      `Cannot resume the stream at ${seq}: its events before ${this.#log.first} were dropped to ` +
        "bound its memory, start it anew",
      [],
      { code: "stream_evicted", status: 410 },
    );
  }

  /** Resolves when there may be an event at `seq`. */
  async want(seq: number): Promise<void> {
    if (seq < this.end || this.ended || this.#isSuspended) return;
    this.#wanted = Math.max(this.#wanted, seq + 1);
    const changed = this.#log.changed();
    this.#wake?.();
    await changed;
  }

  async #run(source: StreamSource, start?: StreamEvent): Promise<void> {
    this.#source = source;
    // Whoever stopped it while it was taken over found no source.
    if (this.#isStopping) source.stop();
    const renewal = this.#renew();
    if (start !== undefined) await this.#publish(start);
    while (!this.ended) {
      await this.#demanded();
      const event = await source.next();
      if (!this.#isSuspended) await this.#publish(event);
      else if (isTerminal(event)) break;
    }
    await source.over;
    clearInterval(renewal);
    // The next process need not wait for the lease to end.
    if (this.#isSuspended) await this.#release();
    this.#end();
  }

  #end(): void {
    this.#source = undefined;
    this.endedAt = Date.now();
    clearTimeout(this.#grace);
    this.#settle();
  }

  /** Waits until somebody wants the event at the end of the log. */
  async #demanded(): Promise<void> {
    const { onDisconnect } = this.#parts;
    for (;;) {
      if (this.#isStopping || this.#wanted > this.end) return;
      if (this.#readers.size === 0 && onDisconnect === "continue") return;
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      if (this.#store?.shared === true) {
        await within(woken, DEMAND_MS);
        this.#askElsewhere(this.#store);
      } else await woken;
    }
  }

  /** Hears what readers of other processes want, and lets no reader here wait for the answer. */
  #askElsewhere(store: StreamStore): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    store.demand(this.record.id, 0).then((seq) => {
      if (seq > this.#wanted) this.#wanted = seq;
      this.#wake?.();
    }, this.#parts.report).finally(() => this.#isAsking = false);
  }

  /** Keeps the right to append while this process makes the events. */
  #renew(): ReturnType<typeof setInterval> | undefined {
    const { holder, leaseMs, report } = this.#parts;
    const store = this.#store;
    if (store?.shared !== true) return undefined;
    return setInterval(() => {
      store.claim(this.record.id, holder, leaseMs).catch(report);
    }, leaseMs / 3);
  }

  async #release(): Promise<void> {
    const { holder, report } = this.#parts;
    if (this.#store?.shared === true) {
      await this.#store.claim(this.record.id, holder, 0).catch(report);
    }
  }

  /** Keeps an event, then gives it to the readers. */
  async #publish(event: StreamEvent): Promise<void> {
    if (this.#store !== undefined && !this.#isBehind) {
      const failure = await this.#append([event]);
      if (failure !== undefined) this.#fallBehind(failure);
    }
    this.#log.append(event);
  }

  /** Appends at `#kept`; what went wrong, or undefined. */
  async #append(events: readonly StreamEvent[]): Promise<unknown> {
    const { id } = this.record;
    const seq = this.#kept;
    try {
      const done = await within(
        this.#store!.append(id, seq, events).then(() => true),
        this.#parts.storeTimeoutMs,
      );
      if (done !== true) throw new StoreTimeoutError(this.#store!.kind, this.#parts.storeTimeoutMs);
      this.#kept = seq + events.length;
      return undefined;
    } catch (failure) {
      if (!(failure instanceof StreamConflictError)) return failure;
      // An append that seemed too late may have arrived all the same.
      const [there] = await this.#store!.read(id, seq, 1).catch(() => []);
      if (JSON.stringify(there) !== JSON.stringify(events[0])) return failure;
      this.#kept = seq + 1;
      return events.length > 1 ? this.#append(events.slice(1)) : undefined;
    }
  }

  #fallBehind(failure: unknown): void {
    this.#parts.report(failure);
    this.#isBehind = true;
    void this.#catchUp();
  }

  /** Writes what the store missed, until it has everything or something is lost for good. */
  async #catchUp(): Promise<void> {
    while (this.#isBehind) {
      await pause(RETRY_MS);
      const isTooLate = this.ended && Date.now() - this.endedAt > CATCH_UP_MS;
      // What would be written had a hole; better no copy than a wrong one.
      if (isTooLate || this.#kept < this.#log.first) return this.#giveUp();
      const events = this.#log.read(this.#kept, READ_COUNT);
      const failure = events.length > 0 ? await this.#append(events) : undefined;
      if (isFinal(failure)) return this.#giveUp();
      if (failure === undefined) this.#isBehind = this.#kept < this.end;
    }
  }

  /** From now on the stream is in memory only. */
  #giveUp(): void {
    this.#store = undefined;
  }

  /** Reads along with whoever makes the events elsewhere; takes over when nobody does. */
  async #follow(store: StreamStore): Promise<void> {
    const { id } = this.record;
    const { holder, leaseMs, report } = this.#parts;
    while (!this.ended && !this.#isSuspended) {
      await this.#wantedHere();
      try {
        if (await this.#copy(store)) continue;
        if (!store.shared || await store.claim(id, holder, leaseMs)) {
          await this.#copy(store);
          if (this.ended) break;
          return await this.#run(await this.#revived(store));
        }
        await store.demand(id, this.end + 1);
        await store.wait(id, this.end, RETRY_MS);
        if (await store.find(id) === undefined) this.#lose();
      } catch (failure) {
        report(failure);
        await pause(RETRY_MS);
      }
    }
    this.#end();
  }

  async #wantedHere(): Promise<void> {
    const isFree = this.#parts.onDisconnect === "continue" && !this.#store?.shared;
    while (!this.#isStopping && this.#wanted <= this.end && !isFree) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Publishes what the store has beyond the log; true where there was something. */
  async #copy(store: StreamStore): Promise<boolean> {
    let copied = false;
    for (;;) {
      const events = await store.read(this.record.id, this.end, READ_COUNT);
      if (events.length === 0) return copied;
      for (const event of events) this.#log.append(event);
      this.#kept = this.end;
      copied = true;
    }
  }

  async #revived(store: StreamStore): Promise<StreamSource> {
    const events: StreamEvent[] = [];
    while (events.length < this.end) {
      const more = await store.read(this.record.id, events.length, READ_COUNT);
      if (more.length === 0) break;
      events.push(...more);
    }
    return this.#parts.revive(this.record, events);
  }

  /** The store has forgotten a stream that is made elsewhere. */
  #lose(): void {
    this.#log.append({
      type: "error",
      code: "stream_evicted",
      message: "Cannot go on with the stream: its store has forgotten it",
      hints: [],
    });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** True where a later attempt would fail alike: others write here, or what was before is gone. */
function isFinal(failure: unknown): boolean {
  return failure instanceof StreamConflictError || failure instanceof StreamHoleError;
}

/** A store did not answer in time. */
export class StoreTimeoutError extends SluiceError {
  /**
   * The error of one attempt.
   *
   * @param kind the store
   * @param ms how long it was waited for
   */
  constructor(kind: string, ms: number) {
    super(`Cannot keep an event: the ${kind} store did not answer in ${ms} ms`, "store_error", 500);
  }
}
