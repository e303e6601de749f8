/**
 * Stream: one answer as a value: its log, its readers, whoever makes its events, and its store.
 *
 * Demand drives it: the source is asked for an event when a reader waits at the end of the log.
 * Events are kept first and published then. A store that fails holds nobody up: the stream goes on
 * from memory and is written when the store is back.
 *
 * @module
 */
import { RequestError } from "../errors.ts";
import { attend } from "./attendance.ts";
import { RETRY_MS, StoredCopy } from "./copy.ts";
import type { StreamEvent } from "./event.ts";
import { EventLog, isTerminal } from "./log.ts";
import { StreamReader } from "./reader.ts";
import { drain, type StreamSource } from "./source.ts";
import type { Demand, StoredStream, StreamRecord, StreamStore } from "./store.ts";
import { pause } from "./within.ts";

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
  /** The store did not take the stream: it is in memory only. Default false. */
  readonly isRefused?: boolean;
  /** Names this process to a shared store. */
  readonly holder: string;
  /** Bytes of events in memory. */
  readonly logBytesMax: number;
  /** Told how many events were dropped to stay within them. */
  readonly onDrop: (events: number) => void;
  /** Told of each wait for a reader that was a pause, when it is over. */
  readonly onContinue?: (seq: number, ms: number) => void;
  /** Told when a pause has lasted `pauseMs`. */
  readonly onPauseEnd: () => void;
  /** How long the store may take before an event is published without it. */
  readonly storeTimeoutMs: number;
  /** How long it may pause without a reader; 0 is for ever. Default for ever. */
  readonly pauseMs?: number | undefined;
  /** How long the right to append outlives its holder. */
  readonly leaseMs: number;
  /** Told of every failure of the store. */
  readonly report: (failure: unknown) => void;
  /** A request as it is after a change. */
  readonly amend: (request: unknown, change: unknown) => unknown;
  /**
   * Goes on where a lost process stopped. A RequestError is for good and ends the stream; any other
   * failure is for now.
   */
  readonly revive: (record: StreamRecord, events: readonly StreamEvent[]) => Promise<StreamSource>;
}

/** Most events that one read brings. */
const READ_COUNT = 256;
/** Events that a reader elsewhere wants at once, because a demand takes its time to be heard. */
const DEMAND_AHEAD = 32;

/** Milliseconds without demand after which a stream counts as paused. */
const PAUSED_MS = 100;

/** What readers get where the store has forgotten a stream that is made elsewhere. */
const STORE_LOST: StreamEvent = {
  type: "error",
  code: "stream_evicted",
  message: "Cannot go on with the stream: its store has forgotten it",
  hints: [],
};

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
  /** `performance.now()` since when it waits for a reader to want more; 0 where it does not. */
  #waitsSince = 0;
  #isStopping = false;
  #isSuspended = false;
  #grace: ReturnType<typeof setTimeout> | undefined;
  /** Absent where the stream lives in memory only. */
  readonly #copy: StoredCopy | undefined;
  /**
   * `Date.now()` since when nothing of it happens here: it has ended, or is made elsewhere and its
   * last reader has left; 0 otherwise.
   */
  idleSince = 0;

  private constructor(parts: StreamParts, log: EventLog) {
    this.record = parts.record;
    this.#parts = parts;
    this.#log = log;
    const { store, isRefused, storeTimeoutMs, report, record: { id } } = parts;
    this.#copy = store && new StoredCopy({ id, store, isRefused, log, storeTimeoutMs, report });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#settle = resolve;
  }

  /** A new stream. Its record is in the store already. */
  static begin(parts: StreamParts, start: StreamEvent, source: StreamSource): Stream {
    const stream = new Stream(parts, new EventLog(parts.logBytesMax, 0, parts.onDrop));
    void stream.#begin(source, start);
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
    const log = new EventLog(parts.logBytesMax, last, parts.onDrop);
    for (const event of await store.read(parts.record.id, last, 1)) log.append(event);
    const stream = new Stream(parts, log);
    stream.#copy?.adopt();
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

  /** It could go on, but for so long that it counts nobody has wanted more. */
  get paused(): boolean {
    return this.#waitsSince > 0 && performance.now() - this.#waitsSince >= PAUSED_MS;
  }

  /** Readers that are attached. */
  get readers(): number {
    return this.#readers.size;
  }

  /** Events are published that its store does not have. */
  get degraded(): boolean {
    return this.#copy?.isWhole === false;
  }

  /** Nothing of it is only in memory any more. */
  get stored(): boolean {
    return this.#copy?.isWhole === true;
  }

  /** It runs, but other processes make its events, or nobody does. */
  get isElsewhere(): boolean {
    return this.#source === undefined && !this.ended && this.#store?.shared === true;
  }

  get #store(): StreamStore | undefined {
    return this.#copy?.store;
  }

  /** Attaches a reader that has everything before `seq`. */
  attach(seq: number): StreamReader {
    clearTimeout(this.#grace);
    if (!this.ended) this.idleSince = 0;
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
    // Whoever makes the events has readers of its own to look to.
    if (!this.isElsewhere) return await this.#abandon();
    this.#wanted = 0;
    this.idleSince = Date.now();
  }

  /** Nobody reads here any more. */
  async #abandon(): Promise<void> {
    const { onDisconnect } = this.#parts;
    if (onDisconnect === "cancel") {
      this.#halt();
      await this.over;
    } else if (typeof onDisconnect === "object") {
      this.#grace = setTimeout(() => this.stop(), onDisconnect.graceMs);
    } else if (onDisconnect === "pause" && this.#parts.pauseMs && !this.#parts.store?.shared) {
      // It holds its place in the engine. Readers of a shared store are not seen here.
      this.#grace = setTimeout(() => {
        this.#parts.onPauseEnd();
        this.stop();
      }, this.#parts.pauseMs);
    } else this.#wake?.();
  }

  /** Readers that have not asked for anything since `before`, though there is something. */
  stalled(before: number): StreamReader[] {
    return [...this.#readers].filter((reader) => reader.idleSince < before);
  }

  /** Ends the generation early, wherever it is made; readers get the terminal event. */
  stop(): void {
    this.#halt();
    // Where this fails, the loop of `#follow` asks again.
    if (this.isElsewhere) {
      this.#store?.demand(this.record.id, { isStopped: true }).catch(this.#parts.report);
    }
  }

  #halt(): void {
    this.#isStopping = true;
    this.#leave();
  }

  #leave(): void {
    this.#source?.stop();
    this.#wake?.();
  }

  /**
   * Changes how it goes on, wherever it is made and continued. Another process takes a change up
   * when it hears of it, after this resolves.
   *
   * @returns false where it has ended, or its source takes no changes
   * @throws SluiceError where the change cannot be given to another process
   */
  async steer(change: unknown): Promise<boolean> {
    const { id } = this.record;
    const store = this.#store;
    if (this.ended) return false;
    if (this.isElsewhere && store !== undefined) {
      if ((await store.find(id))?.ended !== false) return false;
      await store.demand(id, { changes: [change] });
      return true;
    }
    if (!this.#change(change)) return false;
    await store?.update(id, this.record.request).catch(this.#parts.report);
    return true;
  }

  #change(change: unknown): boolean {
    if (this.#source?.steer?.(change) !== true) return false;
    this.#amend(change);
    return true;
  }

  #amend(change: unknown): void {
    this.record = { ...this.record, request: this.#parts.amend(this.record.request, change) };
  }

  /**
   * Leaves it as it is in its store, for the next process: readers end without a terminal event.
   */
  suspend(): void {
    this.#isSuspended = true;
    this.#log.touch();
    this.#leave();
  }

  /** It was left to the next process. */
  get suspended(): boolean {
    return this.#isSuspended;
  }

  /**
   * Events from `seq` on, at once where they are in memory; none where `seq` is the end.
   *
   * @throws RequestError `stream_evicted` (410) where they are kept nowhere any more
   */
  read(seq: number): StreamEvent[] | Promise<StreamEvent[]> {
    return seq < this.#log.first ? this.#older(seq) : this.#log.read(seq, READ_COUNT);
  }

  async #older(seq: number): Promise<StreamEvent[]> {
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
  want(seq: number): Promise<void> {
    if (seq < this.end || this.ended || this.#isSuspended) return Promise.resolve();
    this.#wanted = Math.max(this.#wanted, seq + 1);
    const changed = this.#log.changed();
    this.#wake?.();
    return changed;
  }

  async #begin(source: StreamSource, start: StreamEvent): Promise<void> {
    const isOver = await this.#run(source, start);
    if (!isOver && this.#store !== undefined) await this.#follow(this.#store);
  }

  /** Publishes what a source gives; false where another process goes on with the stream. */
  async #run(source: StreamSource, start?: StreamEvent): Promise<boolean> {
    this.#source = source;
    // Whoever stopped it while it was taken over found no source.
    if (this.#isStopping || this.#isSuspended) source.stop();
    // Whoever wanted that may have left meanwhile.
    else if (start === undefined && this.#readers.size === 0) void this.#abandon();
    const endAttendance = this.#attend();
    if (start !== undefined) await this.#publish(start);
    while (!this.ended) {
      if (!this.#isDemanded()) await this.#demanded();
      const event = await source.next();
      if (this.#isSuspended ? isTerminal(event) : !await this.#publish(event)) {
        await drain(source, event);
        break;
      }
    }
    await source.over;
    endAttendance();
    if (!this.ended && !this.#isSuspended) {
      this.#source = undefined;
      if (this.#readers.size === 0) this.idleSince = Date.now();
      return false;
    }
    // The next process need not wait for the lease to end.
    if (this.#isSuspended) await this.#release();
    this.#end();
    return true;
  }

  #end(): void {
    this.#source = undefined;
    this.idleSince = Date.now();
    clearTimeout(this.#grace);
    this.#settle();
  }

  /** Waits until somebody wants the event at the end of the log. */
  async #demanded(): Promise<void> {
    const since = this.#waitsSince = performance.now();
    do await new Promise<void>((resolve) => this.#wake = resolve); while (!this.#isDemanded());
    this.#waitsSince = 0;
    const ms = performance.now() - since;
    if (ms >= PAUSED_MS) this.#parts.onContinue?.(this.end, ms);
  }

  #isDemanded(): boolean {
    if (this.#isStopping || this.#isSuspended || this.#wanted > this.end) return true;
    return this.#readers.size === 0 && this.#parts.onDisconnect === "continue";
  }

  /** What a process does for a shared stream while it makes the events. */
  #attend(): () => void {
    const { holder, leaseMs, report } = this.#parts;
    const { id } = this.record;
    const store = this.#store;
    if (store?.shared !== true) return () => undefined;
    const isReachable = (): boolean => this.stored;
    const obey = (demand: Demand): Promise<void> => this.#obey(store, demand);
    return attend({ id, store, holder, leaseMs, isReachable, obey, report });
  }

  async #obey(store: StreamStore, { upTo, isStopped, changes }: Demand): Promise<void> {
    this.#wanted = Math.max(this.#wanted, upTo);
    if (isStopped && !this.#isStopping) this.#halt();
    else this.#wake?.();
    for (const change of changes) {
      try {
        this.#change(change);
      } catch (refusal) {
        this.#parts.report(refusal);
      }
    }
    if (changes.length > 0) {
      await store.update(this.record.id, this.record.request, changes.length);
    }
  }

  async #release(): Promise<void> {
    const { holder, report } = this.#parts;
    if (this.#store?.shared === true) {
      await this.#store.claim(this.record.id, holder, 0).catch(report);
    }
  }

  /** Keeps an event, then gives it to the readers; false where another process has that place. */
  async #publish(event: StreamEvent): Promise<boolean> {
    if (this.#copy !== undefined && !await this.#copy.keep(event)) return false;
    this.#log.append(event);
    return true;
  }

  /** Reads along with whoever makes the events elsewhere; takes over when nobody does. */
  async #follow(store: StreamStore): Promise<void> {
    const { id } = this.record;
    const { holder, leaseMs, report } = this.#parts;
    while (!this.ended && !this.#isSuspended) {
      await this.#wantedHere();
      if (this.#isSuspended) break;
      try {
        if (await this.#readAlong(store)) continue;
        if (!store.shared || await store.claim(id, holder, leaseMs)) {
          await this.#readAlong(store);
          if (this.ended) break;
          if (await this.#takeOver(store)) return;
          continue;
        }
        const isStopped = this.#isStopping;
        await store.demand(id, isStopped ? { isStopped } : { upTo: this.end + DEMAND_AHEAD });
        await store.wait(id, this.end, RETRY_MS);
        if (await store.find(id) === undefined) this.#log.append(STORE_LOST);
      } catch (failure) {
        report(failure);
        await pause(RETRY_MS);
      }
    }
    this.#end();
  }

  async #wantedHere(): Promise<void> {
    const isFree = this.#parts.onDisconnect === "continue" && !this.#store?.shared;
    while (this.#wanted <= this.end && !isFree && !this.#isStopping && !this.#isSuspended) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Publishes what the store has beyond the log; true where there was something. */
  async #readAlong(store: StreamStore): Promise<boolean> {
    let isMore = false;
    for (;;) {
      const events = await store.read(this.record.id, this.end, READ_COUNT);
      if (events.length === 0) return isMore;
      for (const event of events) this.#log.append(event);
      this.#copy?.adopt();
      isMore = true;
    }
  }

  /** Makes the events here; false where that is refused for now, or others have taken it over. */
  async #takeOver(store: StreamStore): Promise<boolean> {
    await this.#inherit(store);
    const events: StreamEvent[] = [];
    while (events.length < this.end) {
      const more = await store.read(this.record.id, events.length, READ_COUNT);
      if (more.length === 0) break;
      events.push(...more);
    }
    let source: StreamSource;
    try {
      source = await this.#parts.revive(this.record, events);
    } catch (refusal) {
      const isFinal = refusal instanceof RequestError;
      if (isFinal) {
        const { code, message, hints } = refusal;
        await this.#publish({ type: "error", code, message, hints: [...hints] });
      }
      // Another replica may have room.
      await this.#release();
      if (isFinal) this.#end();
      else await pause(RETRY_MS);
      return isFinal;
    }
    return await this.#run(source);
  }

  /** Takes up what was asked of those who made the stream before. */
  async #inherit(store: StreamStore): Promise<void> {
    const { id } = this.record;
    const stored = await store.find(id);
    if (stored !== undefined) this.record = stored.record;
    const { isStopped, changes } = await store.demand(id, {});
    this.#isStopping ||= isStopped;
    for (const change of changes) this.#amend(change);
    if (changes.length > 0) await store.update(id, this.record.request, changes.length);
  }
}
