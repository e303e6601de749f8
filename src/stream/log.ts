/**
 * EventLog: the newest events of one stream in memory, bounded by bytes, indexed by seq.
 *
 * Event number n of a stream has seq n: `start` is 0, the first token 1. Readers hold a seq and
 * nothing else, so their number costs no memory. What falls out at the old end is gone from here; a
 * store may still have it.
 *
 * @module
 */
import type { StreamEvent } from "./event.ts";

/** True for the event that ends a stream. */
export function isTerminal(event: StreamEvent): boolean {
  return event.type === "complete" || event.type === "error";
}

/** What an event is taken to need in memory. */
const EVENT_BYTES = 160;

function bytesOf(event: StreamEvent): number {
  if (event.type === "token") return EVENT_BYTES + 2 * event.text.length + 8 * event.ids.length;
  return EVENT_BYTES + (event.type === "error" ? 2 * event.message.length : 0);
}

/** The newest events of a stream. */
export class EventLog {
  readonly #bytesMax: number;
  readonly #onDrop: ((events: number) => void) | undefined;
  #events: StreamEvent[] = [];
  #first: number;
  #bytes = 0;
  #ended = false;
  #changed: PromiseWithResolvers<void> | undefined;

  /**
   * An empty log.
   *
   * @param bytesMax bytes that the kept events may take; the newest is kept whatever its size
   * @param first seq of the first event that will be appended
   * @param onDrop told how many events were dropped to stay within `bytesMax`
   */
  constructor(bytesMax: number, first = 0, onDrop?: (events: number) => void) {
    this.#bytesMax = bytesMax;
    this.#onDrop = onDrop;
    this.#first = first;
  }

  /** Seq of the oldest event that is kept. */
  get first(): number {
    return this.#first;
  }

  /** Seq of the next event. */
  get end(): number {
    return this.#first + this.#events.length;
  }

  /** The terminal event has been appended. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Bytes that the kept events are taken to need. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends an event and wakes whoever waits; gives its seq. */
  append(event: StreamEvent): number {
    const seq = this.end;
    this.#events.push(event);
    this.#bytes += bytesOf(event);
    this.#ended ||= isTerminal(event);
    this.#trim();
    this.touch();
    return seq;
  }

  /** Wakes whoever waits, without an event. */
  touch(): void {
    this.#changed?.resolve();
    this.#changed = undefined;
  }

  /** Events from `seq` on, at most so many; none where nothing is kept there. */
  read(seq: number, countMax: number): StreamEvent[] {
    if (seq < this.#first) return [];
    return this.#events.slice(seq - this.#first, seq - this.#first + countMax);
  }

  /** Resolves at the next append. */
  changed(): Promise<void> {
    this.#changed ??= Promise.withResolvers();
    return this.#changed.promise;
  }

  /** Drops the oldest events, many at a time, because a shift moves all that stay. */
  #trim(): void {
    if (this.#bytes <= this.#bytesMax) return;
    const goal = this.#bytesMax * 0.75;
    let n = 0;
    while (this.#bytes > goal && n < this.#events.length - 1) {
      this.#bytes -= bytesOf(this.#events[n++]!);
    }
    this.#events = this.#events.slice(n);
    this.#first += n;
    if (n > 0) this.#onDrop?.(n);
  }
}
