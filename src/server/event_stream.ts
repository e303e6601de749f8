/**
 * The body of a streamed answer: a run, pulled event by event into SSE messages.
 *
 * Pull, never push: nothing is computed or queued that nobody has asked for. One message is one
 * chunk. Pings belong to the reader: they are written between events only, and only while a read
 * waits.
 *
 * @module
 */
import type { StreamEvent } from "../stream/event.ts";
import { encodeSseBytes, type SseMessage } from "../stream/sse.ts";
import type { Encode } from "./dialect.ts";
import { isTerminal, type Report, type Run } from "./run.ts";
import { SILENCE, Silence } from "./silence.ts";

/**
 * What every stream says first, before the model has answered, so that headers and proxies get
 * moving.
 */
const PREAMBLE: SseMessage = { retry: 3000, comment: "ok" };
const PING: SseMessage = { comment: "ping" };

/**
 * Headers of every event stream. `Connection` is the adapters' business: only they know the
 * version.
 */
export const STREAM_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-store, no-transform",
  "x-accel-buffering": "no",
};

/** Reads one run for one client. */
class EventReader implements UnderlyingDefaultSource<Uint8Array> {
  readonly #run: Run;
  readonly #encode: Encode;
  readonly #silence: Silence;
  readonly #report: Report;
  /** The event that is waited for; a ping leaves it pending for the next pull. */
  #wanted: Promise<StreamEvent> | undefined;
  #isGone = false;

  constructor(run: Run, encode: Encode, keepAliveMs: number, report: Report) {
    this.#run = run;
    this.#encode = encode;
    this.#silence = new Silence(keepAliveMs);
    this.#report = report;
  }

  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    controller.enqueue(encodeSseBytes(PREAMBLE));
    for (const message of this.#encode(this.#run.start)) {
      controller.enqueue(encodeSseBytes(message));
    }
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    try {
      // Some events have no message, and a pull that enqueues nothing is not called again.
      while (!await this.#step(controller));
    } catch (thrown) {
      // Only a fault of a dialect comes here: the run must not outlive it.
      this.#report(thrown);
      await this.#run.cancel();
      throw thrown;
    }
  }

  /** Takes one event or a silence; true once that has told the client something. */
  async #step(controller: ReadableStreamDefaultController<Uint8Array>): Promise<boolean> {
    this.#wanted ??= this.#run.next();
    const event = await this.#silence.wait(this.#wanted);
    if (this.#isGone) return true;
    if (event === SILENCE) {
      controller.enqueue(encodeSseBytes(PING));
      return true;
    }
    this.#wanted = undefined;
    const messages = this.#encode(event);
    for (const message of messages) controller.enqueue(encodeSseBytes(message));
    if (isTerminal(event)) controller.close();
    return messages.length > 0 || isTerminal(event);
  }

  /** The one sign of a disconnect that every runtime gives. */
  cancel(): Promise<void> {
    this.#isGone = true;
    this.#silence.stop();
    return this.#run.cancel();
  }
}

/**
 * A run as bytes.
 *
 * @param keepAliveMs a ping after so much silence; 0 is never
 */
export function eventStream(
  run: Run,
  encode: Encode,
  keepAliveMs: number,
  report: Report,
): ReadableStream<Uint8Array> {
  return new ReadableStream(new EventReader(run, encode, keepAliveMs, report), {
    highWaterMark: 0,
  });
}
