/**
 * StoredCopy: what a store has of a stream that is made here.
 *
 * Events go to the store before they are published. A store that fails holds nobody up: the copy
 * falls behind, and is written when the store is back. Where that would leave a hole it is given
 * up: better no copy than a wrong one.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";
import type { StreamEvent } from "./event.ts";
import type { EventLog } from "./log.ts";
import { StreamConflictError, type StreamStore } from "./store.ts";
import { StreamHoleError } from "./stores/hole.ts";
import { pause, within } from "./within.ts";

/** What a copy is made of. */
export interface CopyParts {
  /** The stream. */
  readonly id: string;
  /** Where it is kept. */
  readonly store: StreamStore;
  /** It has no record of the stream, so that there is nothing to write. Default false. */
  readonly isRefused?: boolean | undefined;
  /** Its newest events. */
  readonly log: EventLog;
  /** How long the store may take before an event is published without it. */
  readonly storeTimeoutMs: number;
  /** Told of the failure with which the copy falls behind. */
  readonly report: (failure: unknown) => void;
}

/** Pause between two attempts to reach a store. */
export const RETRY_MS = 500;
/** Most events that one append brings. */
const APPEND_COUNT = 256;
/** How long after its end a stream may still be written. */
const CATCH_UP_MS = 60_000;

/** The copy of one stream; see the module. */
export class StoredCopy {
  readonly #parts: CopyParts;
  /** Seq of the first event that the store does not have. */
  #end = 0;
  #isBehind = false;
  #isLost: boolean;

  /** An empty copy. */
  constructor(parts: CopyParts) {
    this.#parts = parts;
    this.#isLost = parts.isRefused ?? false;
  }

  /** Where the stream is kept; undefined once the copy is given up. */
  get store(): StreamStore | undefined {
    return this.#isLost ? undefined : this.#parts.store;
  }

  /** Every event that is published is there. */
  get isWhole(): boolean {
    return !this.#isBehind && !this.#isLost;
  }

  /** The log has just been read from the store: it has nothing that the store does not have. */
  adopt(): void {
    this.#end = this.#parts.log.end;
  }

  /**
   * Keeps the event that is published next, or says why not and catches up later.
   *
   * @returns false where a process that shares the store has appended in its place: it must not be
   * published
   */
  async keep(event: StreamEvent): Promise<boolean> {
    if (!this.isWhole) return true;
    const failure = await this.#append([event]);
    if (failure === undefined) return true;
    this.#parts.report(failure);
    // Without a lease two would take the stream from each other for ever.
    if (failure instanceof StreamConflictError && this.#parts.store.shared) return false;
    this.#isBehind = true;
    void this.#catchUp();
    return true;
  }

  /** Appends at the end of the copy; what went wrong, or undefined. */
  async #append(events: readonly StreamEvent[]): Promise<unknown> {
    const { id, store, storeTimeoutMs } = this.#parts;
    const seq = this.#end;
    try {
      const append = store.append(id, seq, events).then(() => true);
      const isDone = await within(append, storeTimeoutMs);
      if (isDone !== true) throw new StoreTimeoutError(store.kind, storeTimeoutMs);
      this.#end = seq + events.length;
      return undefined;
    } catch (failure) {
      if (!(failure instanceof StreamConflictError)) return failure;
      // An append that seemed too late may have arrived all the same.
      const [there] = await store.read(id, seq, 1).catch(() => []);
      if (JSON.stringify(there) !== JSON.stringify(events[0])) return failure;
      this.#end = seq + 1;
      return events.length > 1 ? this.#append(events.slice(1)) : undefined;
    }
  }

  /** Writes what the store missed, until it has everything or something is lost for good. */
  async #catchUp(): Promise<void> {
    const { log } = this.#parts;
    let endedAt = 0;
    while (this.#isBehind) {
      await pause(RETRY_MS);
      if (log.ended) endedAt ||= Date.now();
      const isTooLate = endedAt > 0 && Date.now() - endedAt > CATCH_UP_MS;
      if (isTooLate || this.#end < log.first) return this.#giveUp();
      const events = log.read(this.#end, APPEND_COUNT);
      const failure = events.length > 0 ? await this.#append(events) : undefined;
      if (isFinal(failure)) return this.#giveUp();
      if (failure === undefined) this.#isBehind = this.#end < log.end;
    }
  }

  #giveUp(): void {
    this.#isLost = true;
  }
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
