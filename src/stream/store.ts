/**
 * StreamStore: where streams outlive the process that made them.
 *
 * Events are appended at their seq and never changed: a second event for the same seq is refused,
 * so that of two writers only one can go on. A store knows no readers and no limits.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";
import type { StreamEvent } from "./event.ts";

/** What is kept of a stream beside its events. */
export interface StreamRecord {
  /** 32 hexadecimal digits. */
  readonly id: string;
  /** Whoever may read it, such as a hash of an API key; "" is everybody. */
  readonly owner: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** What the stream was asked for, as JSON; what it needs to go on after a crash. */
  readonly request: unknown;
}

/** A stream as a store knows it. */
export interface StoredStream {
  /** Id, owner and request. */
  readonly record: StreamRecord;
  /** Seq of the oldest event that is kept. */
  readonly first: number;
  /** Seq of the next event. */
  readonly end: number;
  /** The terminal event is there. */
  readonly ended: boolean;
}

/** What processes that read along want of the one that makes the events. */
export interface Demand {
  /** Seq of the first event that no reader wants yet. */
  readonly upTo: number;
  /** The stream is to end now. */
  readonly isStopped: boolean;
  /** Changes of how it goes on, the oldest first; those that `update()` took up are gone. */
  readonly changes: readonly unknown[];
}

/** Nobody wants anything. */
export const NO_DEMAND: Demand = { upTo: 0, isStopped: false, changes: [] };

/** Keeps streams; every method rejects where the store cannot be reached or written. */
export interface StreamStore extends AsyncDisposable {
  /** Name in messages and in health, such as `sqlite`. */
  readonly kind: string;
  /** Other processes read and continue the same streams. */
  readonly shared: boolean;
  /** Keeps a new stream. */
  create(record: StreamRecord): Promise<void>;
  /** What is known of a stream. */
  find(id: string): Promise<StoredStream | undefined>;
  /**
   * Replaces what the stream was asked for.
   *
   * @param changes how many of the demanded changes are part of it, from the oldest on; default 0
   */
  update(id: string, request: unknown, changes?: number): Promise<void>;
  /**
   * Appends events, the first at `seq`.
   *
   * @throws StreamConflictError where one of them is there already
   */
  append(id: string, seq: number, events: readonly StreamEvent[]): Promise<void>;
  /** Events from `seq` on, at most so many. */
  read(id: string, seq: number, countMax: number): Promise<StreamEvent[]>;
  /** Resolves once there may be an event at `seq`, at the latest after `waitMs`. */
  wait(id: string, seq: number, waitMs: number): Promise<void>;
  /** Ids of streams without a terminal event. */
  unfinished(): Promise<string[]>;
  /** Takes the right to append for `leaseMs`, or renews it; false where another holder has it. */
  claim(id: string, holder: string, leaseMs: number): Promise<boolean>;
  /** The stream that this owner's key stands for: `id`, unless the key was bound before. */
  bind(owner: string, key: string, id: string): Promise<string>;
  /** Adds to what is wanted of the holder, and gives all of it; `{}` only asks. */
  demand(id: string, more: Partial<Demand>): Promise<Demand>;
  /** Forgets a stream. */
  remove(id: string): Promise<void>;
  /** Forgets the streams that were made before a time; gives how many. */
  sweep(createdBefore: number): Promise<number>;
}

/** Another writer has appended here; the stream goes on there. */
export class StreamConflictError extends SluiceError {
  /**
   * The conflict at one place.
   *
   * @param id the stream
   * @param seq the place that is taken
   * @param cause what the store said
   */
  constructor(id: string, seq: number, cause?: unknown) {
    super(
      `Cannot append to the stream "${id}" at ${seq}: there is an event already, read on from there`,
      "stream_conflict",
      500,
      { cause },
    );
  }
}
