/**
 * A StreamSource that gives what it was given, and counts what was asked of it.
 *
 * @module
 */
import type { StreamEvent } from "../../src/stream/event.ts";
import { isTerminal } from "../../src/stream/log.ts";
import type { StreamSource } from "../../src/stream/source.ts";
import { complete } from "./mock_generator.ts";

/** Gives its events one by one, then waits for a stop. */
export class FakeSource implements StreamSource {
  readonly over: Promise<void>;
  /** Events that were asked for. */
  asked = 0;
  stopped = 0;
  /** Every change that was asked for. */
  readonly changes: unknown[] = [];
  readonly #events: StreamEvent[];
  readonly #stop = Promise.withResolvers<void>();
  readonly #settle: () => void;

  constructor(events: readonly StreamEvent[]) {
    this.#events = [...events];
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#settle = resolve;
  }

  async next(): Promise<StreamEvent> {
    this.asked++;
    if (this.#events.length === 0) await this.#stop.promise;
    const event = this.#events.shift() ?? complete(0, "cancelled");
    if (isTerminal(event)) this.#settle();
    return event;
  }

  steer(change: unknown): boolean {
    this.changes.push(change);
    return true;
  }

  stop(): void {
    this.stopped++;
    this.#stop.resolve();
  }
}
