/**
 * StreamSource: where the events of a stream come from.
 *
 * @module
 */
import type { StreamEvent } from "./event.ts";
import { isTerminal } from "./log.ts";

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

/** Ends a source whose events nobody wants, after one that it gave. */
export async function drain(source: StreamSource, event: StreamEvent): Promise<void> {
  source.stop();
  let last = event;
  while (!isTerminal(last)) last = await source.next();
}
