/**
 * The body of a streamed answer: a reader of a stream, pulled event by event into bytes.
 *
 * Pull, never push: nothing is computed or queued that nobody has asked for. One message is one
 * chunk, unless the server groups them. Pings belong to the reader: they are written between events
 * only, and only while a read waits.
 *
 * @module
 */
import { type Cursor, messageId, partsDelivered } from "../stream/cursor.ts";
import type { NoticeEvent } from "../stream/event.ts";
import { isTerminal } from "../stream/log.ts";
import type { Entry, StreamReader } from "../stream/reader.ts";
import type { StreamingConfig } from "../stream/config.ts";
import { ChunkGroup } from "../stream/group.ts";
import type { SseMessage } from "../stream/sse.ts";
import type { Encode, Frames } from "./dialect.ts";
import type { Ending, Outcome } from "./ending.ts";
import { binaryFraming, type Framing, sseFraming } from "./framing.ts";
import { Listener, type Progress } from "./progress.ts";
import { publicError, publicEvent } from "./public_error.ts";
import type { Report } from "./run.ts";
import { SILENCE, Silence } from "./silence.ts";
import { Turn } from "./turn.ts";

/** Seq of an event that is in no log; larger than any. */
const LOST_SEQ = 2 ** 32 - 1;
const CANCELLED = publicEvent({ type: "error", code: "cancelled", message: "", hints: [] });
/** Told once, where a resumption after a restart would not find everything. */
const NOTICE: SseMessage = { comment: "notice: not resumable after a restart, the store failed" };
/** Most events that one pull writes, and the bytes after which it adds no more. */
const STRIDE = 64;
const STRIDE_BYTES = 64 * 1024;
/** There is one event loop, whatever the number of handlers. */
const turn = new Turn();
const RETRY_MS = 3000;
/** After a shutdown the next process is there soon. */
const RETRY_SHUTDOWN_MS = 1000;

/**
 * Headers of every event stream beside its type. `Connection` is the adapters' business: only they
 * know the version.
 */
export const STREAM_HEADERS: Readonly<Record<string, string>> = {
  "cache-control": "no-cache, no-store, no-transform",
  "x-accel-buffering": "no",
};

/** What is read, and how it is written. */
export interface EventStreamParts {
  readonly reader: StreamReader;
  readonly encode: Encode;
  /** Id of the stream where messages carry ids. */
  readonly id?: string | undefined;
  /** Default all; those that are told here know no ids. */
  readonly frames?: Frames | undefined;
  /** The start event has a message, which the preamble's id must not count as delivered. */
  readonly opensWithMessage?: boolean | undefined;
  /** What the client has already; the reader starts at or before it. */
  readonly cursor?: Cursor | undefined;
  /** Written before what the reader reads; see `snapshotOf`. */
  readonly opening?: readonly Entry[] | undefined;
  /** What is told beside the log. Default nothing. */
  readonly progress?: Progress | undefined;
  /** A ping after so much silence; 0 is never. */
  readonly keepAliveMs: number;
  /** Whether events are published that the stream's store does not have. Default never. */
  readonly isDegraded?: (() => boolean) | undefined;
  /** Default SSE. */
  readonly framing?: Framing | undefined;
  /** Written where the server stops before the stream has ended. Default a comment. */
  readonly shutdown?: SseMessage | undefined;
  /** Whom to tell that the body ends. */
  readonly ending?: Ending | undefined;
  /** Told how many bytes went out as one chunk, where chunks are grouped. Default nobody. */
  readonly onFlush?: ((bytes: number) => void) | undefined;
  readonly report: Report;
}

/** A failure that is the reader's own, not its stream's, as the last event that it gets. */
function lost(thrown: unknown): Entry {
  const { code, message, hints } = publicError(thrown);
  return { seq: LOST_SEQ, event: { type: "error", code, message, hints: [...hints] } };
}

/** Reads one stream for one client. */
class StreamBody implements UnderlyingDefaultSource<Uint8Array> {
  readonly #parts: EventStreamParts;
  readonly #silence: Silence;
  readonly #framing: Framing;
  #isNoticed = false;
  /** The client waits for something. */
  #isPulled = false;
  /** The last pull wrote a whole stride, so there is more in the log. */
  #isBehind = false;
  /** Seq of the last event that the client has. */
  #seq: number;
  readonly #listener: Listener;
  /** What is waited for; a ping leaves it pending for the next pull. */
  #wanted: Promise<Entry | NoticeEvent | undefined> | undefined;
  #isGone = false;

  constructor(parts: EventStreamParts) {
    this.#parts = parts;
    this.#seq = parts.cursor?.seq ?? 0;
    this.#listener = new Listener(parts.reader, parts.progress);
    this.#framing = parts.framing ?? sseFraming();
    this.#silence = new Silence(this.#isBare ? 0 : parts.keepAliveMs);
  }

  /** Binary frames hear no language. */
  get #isBare(): boolean {
    return this.#parts.frames === "bare" && this.#framing !== binaryFraming;
  }

  /**
   * What a stream says first, before the model has answered, so that headers and proxies get
   * moving, and so that a client that is cut off now resumes.
   */
  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    const { id, cursor, reader, opensWithMessage } = this.#parts;
    const isNew = id !== undefined && cursor === undefined && this.#parts.opening === undefined;
    const parts = opensWithMessage === true ? 1 : 0;
    if (!this.#isBare) {
      this.#send(
        controller,
        this.#framing.opening({
          retry: RETRY_MS,
          ...(isNew && { id: messageId(id, 0, 0, parts) }),
          comment: "ok",
        }),
      );
    }
    for (const entry of this.#parts.opening ?? []) this.#write(controller, entry);
    reader.onEvict = () => this.#close(controller, "cut");
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    this.#isPulled = true;
    try {
      if (this.#isBehind) await turn.take(this);
      if (this.#isGone) return;
      // Some events have no message, and a pull that enqueues nothing is not called again.
      while (!await this.#step(controller));
    } catch (thrown) {
      // Only a fault of a dialect comes here: a body that is cut says more than one that ends.
      this.#parts.report(thrown);
      this.#isGone = true;
      this.#silence.stop();
      this.#parts.ending?.over("cut");
      await this.#parts.reader.close();
      throw thrown;
    } finally {
      this.#isPulled = false;
    }
  }

  /** Takes one event or a silence; true once that has told the client something. */
  async #step(controller: ReadableStreamDefaultController<Uint8Array>): Promise<boolean> {
    this.#wanted ??= this.#listener.next().catch(lost);
    const entry = await this.#silence.wait(this.#wanted);
    if (this.#isGone) return true;
    if (entry === SILENCE) {
      this.#send(controller, this.#framing.ping(this.#seq));
      return true;
    }
    this.#wanted = undefined;
    if (entry === undefined) return this.#shutDown(controller);
    if ("type" in entry) return this.#tell(controller, entry);
    this.#notice(controller);
    let bytes = this.#write(controller, entry);
    let events = 1;
    // What is in the log already costs nobody anything; a resumed client gets it in long strides.
    for (; events < STRIDE && bytes < STRIDE_BYTES && !this.#isGone; events++) {
      const more = this.#parts.reader.take();
      if (more === undefined) break;
      bytes += this.#write(controller, more);
    }
    this.#isBehind = events === STRIDE || bytes >= STRIDE_BYTES;
    return bytes > 0 || this.#isGone;
  }

  /** Writes an event; gives how many bytes that were. */
  #write(controller: ReadableStreamDefaultController<Uint8Array>, entry: Entry): number {
    const chunks = this.#framing.chunks(entry, this.#messages(entry), this.#parts.cursor);
    for (const chunk of chunks) this.#send(controller, chunk);
    this.#seq = entry.seq;
    if (isTerminal(entry.event)) this.#close(controller);
    return chunks.reduce((bytes, chunk) => bytes + chunk.length, 0);
  }

  /** Writes a notice, without an id: a client that comes back is where it was. */
  #tell(controller: ReadableStreamDefaultController<Uint8Array>, event: NoticeEvent): boolean {
    const messages = this.#parts.encode(event, this.#seq);
    const chunks = this.#framing.chunks({ seq: this.#seq, event }, messages, undefined);
    for (const chunk of chunks) this.#send(controller, chunk);
    return chunks.length > 0;
  }

  #notice(controller: ReadableStreamDefaultController<Uint8Array>): void {
    if (this.#isNoticed || this.#isBare || this.#parts.isDegraded?.() !== true) return;
    this.#isNoticed = true;
    const chunk = this.#framing.notice(NOTICE);
    if (chunk !== undefined) this.#send(controller, chunk);
  }

  /** The messages of an event that the client does not have, each with its id. */
  #messages({ seq, event }: Entry): SseMessage[] {
    const { id, cursor, encode } = this.#parts;
    const messages = encode(event, seq);
    const parts = messages.length;
    if (id !== undefined && seq !== LOST_SEQ) {
      for (const [i, message] of messages.entries()) message.id = messageId(id, seq, i + 1, parts);
    }
    return messages.slice(partsDelivered(cursor, seq, parts));
  }

  /**
   * The server stops; the client is told when to look for what follows. One without ids cannot, and
   * for it this is the end.
   */
  #shutDown(controller: ReadableStreamDefaultController<Uint8Array>): true {
    const { encode, frames, shutdown = { comment: "shutdown" } } = this.#parts;
    const messages = frames === undefined
      ? [{ retry: RETRY_SHUTDOWN_MS, ...shutdown }]
      : encode(CANCELLED, LOST_SEQ);
    for (const message of messages) {
      const chunk = this.#framing.shutdown(message);
      if (chunk !== undefined) this.#send(controller, chunk);
    }
    this.#close(controller, "cut");
    return true;
  }

  #send(controller: ReadableStreamDefaultController<Uint8Array>, chunk: Uint8Array): void {
    if (this.#parts.ending !== undefined) this.#parts.ending.bytes += chunk.length;
    controller.enqueue(chunk);
  }

  #close(
    controller: ReadableStreamDefaultController<Uint8Array>,
    outcome: Outcome = "whole",
  ): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#silence.stop();
    void this.#parts.reader.close();
    this.#parts.ending?.onEnd?.(!this.#isPulled);
    this.#parts.ending?.over(outcome);
    controller.close();
  }

  /** The one sign of a disconnect that every runtime gives. */
  cancel(): Promise<void> {
    this.#isGone = true;
    this.#silence.stop();
    this.#parts.ending?.over("gone");
    return this.#parts.reader.close();
  }
}

/**
 * A reader of a stream as bytes.
 *
 * @param grouping several events in one chunk, as `bufferSize` and `flushIntervalMs` say
 */
export function eventStream(
  parts: EventStreamParts,
  grouping?: Pick<StreamingConfig, "bufferSize" | "flushIntervalMs">,
): ReadableStream<Uint8Array> {
  const stream = new ReadableStream(new StreamBody(parts), { highWaterMark: 0 });
  return grouping === undefined || grouping.bufferSize === 1
    ? stream
    : grouped(stream, grouping, parts.onFlush);
}

/** The same bytes in fewer chunks; the preamble is never held up. */
function grouped(
  stream: ReadableStream<Uint8Array>,
  grouping: Pick<StreamingConfig, "bufferSize" | "flushIntervalMs">,
  onFlush?: (bytes: number) => void,
): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  const read = async (): Promise<Uint8Array | undefined> => (await reader.read()).value;
  const group = new ChunkGroup(read, grouping);
  let isOpen = false;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const chunk = isOpen ? await group.next() : await read();
      if (chunk === undefined) controller.close();
      else {
        if (isOpen) onFlush?.(chunk.length);
        controller.enqueue(chunk);
      }
      isOpen = true;
    },
    cancel(reason) {
      group.stop();
      return reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}
