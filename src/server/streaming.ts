/**
 * Streaming: the requests that make, read, steer and end streams, between the handler and Streams.
 *
 * @module
 */
import type { GenerateRequest, Generator } from "../engine/generator.ts";
import type { Change } from "../engine/steering.ts";
import { OverloadedError, RequestError } from "../errors.ts";
import type { StreamingConfig } from "../stream/config.ts";
import type { Cursor } from "../stream/cursor.ts";
import { streamOf } from "../stream/cursor.ts";
import type { StreamEvent } from "../stream/event.ts";
import type { Entry, StreamReader } from "../stream/reader.ts";
import { snapshotOf } from "../stream/snapshot.ts";
import type { StreamRecord, StreamStore } from "../stream/store.ts";
import type { StreamSource } from "../stream/source.ts";
import type { Stream } from "../stream/stream.ts";
import type { StreamLimits } from "../stream/limits.ts";
import { Streams } from "../stream/streams.ts";
import { within } from "../stream/within.ts";
import { changed, type Control } from "./control.ts";
import type { AnswerContext, Encode, Exchange } from "./dialect.ts";
import { Ending, withEnding } from "./ending.ts";
import { eventStream, STREAM_HEADERS } from "./event_stream.ts";
import type { Framing } from "./framing.ts";
import type { JsonObject } from "./fields.ts";
import { amended, keptOf, type KeptRequest, resumePoint, withSeed } from "./kept_request.ts";
import { Progress } from "./progress.ts";
import { type RequestWatch, timing } from "./request_watch.ts";
import type { Routes } from "./routes.ts";
import { type Report, Run } from "./run.ts";
import type { Telemetry } from "./telemetry.ts";
import { JSON_HEADERS, wholeBody } from "./whole_body.ts";

/** What streaming needs from its handler. */
export interface StreamingOptions {
  readonly limits: StreamLimits | undefined;
  readonly store: StreamStore | undefined;
  readonly routes: Routes;
  /** Settles when the model is loaded. */
  readonly generator: Promise<Generator>;
  /** The generator, if new generations are taken now; throws the refusal otherwise. */
  readonly ready: () => Generator;
  /** The generator as an owner may use it; throws where it has used up what it may. */
  readonly take: (owner: string, generator: Generator) => Generator;
  readonly keepAliveMs: number;
  /** Several events in one chunk; undefined is one each. */
  readonly grouping: StreamingConfig | undefined;
  /** Most tokens of any request; undefined is no cap. */
  readonly maxTokens: number | undefined;
  readonly telemetry: Telemetry;
}

/** Who asks for a new stream. */
export interface Asker {
  readonly owner: string;
  readonly idempotencyKey: string | undefined;
  /** Who measures the request; undefined where nobody does. */
  readonly watch?: RequestWatch | undefined;
}

/** A request for a new stream that has been checked. */
export interface Ask extends Asker {
  readonly path: string;
  /** Name of what the path speaks. */
  readonly dialect: string;
  /** As it came. */
  readonly body: JsonObject;
  /** For a body without one; see `withSeed`. */
  readonly seed: number;
  readonly framing: Framing;
}

/** How a reader wants a stream to be written. */
export interface View {
  readonly framing: Framing;
  /** Name of its language. Default that of the route that made the stream. */
  readonly dialect?: string | undefined;
  /** Without a cursor, what was said so far comes as one message. Default false. */
  readonly isLate?: boolean;
}

/** A reader at its place in a stream, with all that is needed to write what it reads. */
export interface Attached {
  readonly stream: Stream;
  readonly reader: StreamReader;
  readonly exchange: Exchange;
  readonly context: AnswerContext;
  /** What the client has already; the reader starts at or before it. */
  readonly cursor: Cursor | undefined;
  /** What is told beside the log, where it was asked for. */
  readonly progress: Progress | undefined;
  /** Written before what the reader reads. */
  readonly opening?: readonly Entry[];
}

const KEY_CHARS_MAX = 255;
const RETRY_AFTER_S = 1;
/** How long a cancelled generation may take to end before a drain stops waiting for it. */
const CANCEL_MS = 1000;
/** A timer that is set to more fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The cursor that a client gives: in a header, as EventSource does, or in the URL. */
export function cursorOf(request: Request): string | undefined {
  const query = new URL(request.url).searchParams;
  const text = request.headers.get("last-event-id") ?? query.get("lastEventId") ??
    query.get("from");
  return text === null || text === "" ? undefined : text;
}

/**
 * The client's idempotency key, or undefined.
 *
 * @throws RequestError where it is empty or too long
 */
export function idempotencyKeyOf(request: Request): string | undefined {
  const key = request.headers.get("idempotency-key");
  if (key === null) return undefined;
  if (key !== "" && key.length <= KEY_CHARS_MAX) return key;
  throw new RequestError(
    `Cannot accept the request: its Idempotency-Key has ${key.length} characters, expected 1 to ` +
      `${KEY_CHARS_MAX}`,
    [],
    { code: "invalid_idempotency_key" },
  );
}

/** What a stream took that has ended, as a header; nothing of one that runs or has failed. */
async function timingsOf(stream: Stream): Promise<Record<string, string>> {
  const [last] = stream.ended ? await stream.read(stream.end - 1) : [];
  if (last?.type !== "complete") return {};
  const { queueMs, prefillMs, decodeMs } = last.stats;
  const steps = [["queue", queueMs], ["prefill", prefillMs], ["decode", decodeMs]] as const;
  return { "server-timing": steps.map(([name, ms]) => timing(name, ms)).join(", ") };
}

/** All streams of a handler; see the module. */
export class Streaming {
  readonly streams: Streams;
  readonly #options: StreamingOptions;
  readonly #report: Report;
  /** Streams that wait for their generator to take them, by id. */
  readonly #beginning = new Map<string, Promise<Stream | string>>();
  /** What is told of streams that run, by id. */
  readonly #progress = new Map<string, Progress>();

  constructor(options: StreamingOptions) {
    this.#options = options;
    const { telemetry } = options;
    this.#report = (failure) => telemetry.failed(failure, "engine");
    this.streams = new Streams({
      limits: options.limits,
      store: options.store,
      revive: (record, events) => this.#revive(record, events),
      amend: (request, change) => amended(request as KeptRequest, change as Change),
      onDisconnectOf: (record) => keptOf(record).onDisconnect,
      report: (failure, isOfStore) => telemetry.failed(failure, isOfStore ? "store" : "stream"),
      note: (note) => telemetry.note(note),
    });
  }

  /**
   * Starts a generation, or attaches to the one that its idempotency key stands for.
   *
   * @param exchange what the body was accepted as; its refusals are written with its own envelope
   */
  async answer(
    ask: Ask,
    context: AnswerContext,
    exchange: Exchange,
  ): Promise<Response> {
    const { framing } = ask;
    return await this.#respond(await this.begin(ask, context, exchange), { framing });
  }

  /** As `answer`, for whoever writes the events itself. */
  async begin(
    ask: Omit<Ask, "framing">,
    context: AnswerContext,
    exchange: Exchange,
  ): Promise<Attached> {
    const { owner, idempotencyKey: key } = ask;
    const { id } = context;
    if (key === undefined) {
      return await this.#attach(await this.#begin(ask, context, exchange), exchange, undefined);
    }
    // Known before anything is waited for, so that whoever comes with the key finds it.
    const beginning = this.#beginBound(key, ask, context, exchange);
    this.#beginning.set(id, beginning);
    try {
      const stream = await beginning;
      if (typeof stream === "string") return await this.#attachTo(stream, ask);
      return await this.#attach(stream, exchange, undefined);
    } catch (thrown) {
      await this.streams.unbind(owner, key, id);
      throw thrown;
    } finally {
      this.#beginning.delete(id);
    }
  }

  /** A new stream, or the id of the one that the key stands for already. */
  async #beginBound(
    key: string,
    ask: Omit<Ask, "framing">,
    context: AnswerContext,
    exchange: Exchange,
  ): Promise<Stream | string> {
    const id = await this.streams.bind(ask.owner, key, context.id);
    return id === context.id ? await this.#begin(ask, context, exchange) : id;
  }

  /** A stream to whoever asks for it by its id, from a cursor on. */
  async read(
    id: string,
    owner: string,
    cursorText: string | undefined,
    view: View,
  ): Promise<Response> {
    const stream = await this.streams.open(id, owner);
    const cursor = this.streams.cursor(cursorText, stream);
    const isDelivered = cursor !== undefined && cursor.part === undefined &&
      stream.ended && cursor.seq === stream.end - 1;
    // Anything but 204 makes an EventSource come back for ever.
    if (isDelivered) return new Response(null, { status: 204 });
    const exchange = this.#exchangeOf(stream.record);
    const isWhole = !exchange.stream && view.dialect === undefined;
    if (view.isLate !== true || cursor !== undefined || isWhole) {
      const { dialect = keptOf(stream.record).dialect } = view;
      return await this.#respond(await this.#attach(stream, exchange, cursor, dialect), view);
    }
    const opening = await snapshotOf(stream);
    const seen = opening.at(-1);
    const attached = await this.#attach(stream, exchange, seen && { seq: seen.seq });
    return await this.#respond({ ...attached, cursor: undefined, opening }, view);
  }

  /**
   * As `read`, for whoever writes the events itself; a stream of which everything was delivered
   * gives its terminal event again.
   */
  async reopen(id: string, owner: string, cursorText: string | undefined): Promise<Attached> {
    const stream = await this.streams.open(id, owner);
    const cursor = this.streams.cursor(cursorText, stream);
    const isDelivered = stream.ended && cursor?.seq === stream.end - 1;
    const from = isDelivered ? { seq: stream.end - 2 } : cursor;
    return await this.#attach(stream, this.#exchangeOf(stream.record), from);
  }

  /** The answer to a creating request that carries the cursor of a stream of ours, if it does. */
  async resume(
    owner: string,
    cursorText: string | undefined,
    framing: Framing,
  ): Promise<Response | undefined> {
    const id = cursorText === undefined ? undefined : streamOf(cursorText);
    if (id === undefined) return undefined;
    try {
      return await this.read(id, owner, cursorText, { framing });
    } catch (thrown) {
      // A cursor of somebody else's stream means nothing here: the request starts anew.
      if (thrown instanceof RequestError && thrown.status === 404) return undefined;
      throw thrown;
    }
  }

  /** Ends a stream early. Ending one that has ended is fine. */
  async stop(id: string, owner: string): Promise<void> {
    const stream = await this.streams.open(id, owner);
    stream.stop();
  }

  /**
   * Stops a stream or changes how it goes on, for the tokens that are not sampled yet.
   *
   * @throws RequestError with status 409 where it has ended, or its generator takes no changes
   */
  async control(id: string, owner: string, control: Control): Promise<void> {
    const stream = await this.streams.open(id, owner);
    if (control.action === "stop") return stream.stop();
    if (!stream.ended && await stream.steer(control.change)) return;
    throw new RequestError(
      `Cannot change the stream "${id}": it has ended, or takes no changes`,
      [],
      { code: "stream_not_running", status: 409 },
    );
  }

  /** Lets the running streams end, then stops them or leaves them to the next process. */
  async drain(graceMs: number): Promise<void> {
    await this.#settled(graceMs);
    for (const stream of this.streams.running) {
      if (stream.stored) stream.suspend();
      else stream.stop();
    }
    await this.#settled(CANCEL_MS);
    await this.streams.close();
  }

  /** Waits until no stream runs, at most so long. */
  async #settled(withinMs: number): Promise<void> {
    const ends = this.streams.running.map((stream) => stream.over);
    await within(Promise.all(ends), Math.min(withinMs, TIMER_MS_MAX));
  }

  /** The stream that a key stands for; it may be about to begin, here or in another replica. */
  async #boundStream(id: string, owner: string): Promise<Stream> {
    const beginning = await this.#beginning.get(id);
    if (typeof beginning === "object") return beginning;
    try {
      return await this.streams.open(beginning ?? id, owner);
    } catch (thrown) {
      if (!(thrown instanceof RequestError && thrown.status === 404)) throw thrown;
      throw new OverloadedError(
        "Cannot attach to the stream of this Idempotency-Key: it is about to begin, try again",
        RETRY_AFTER_S,
      );
    }
  }

  async #attachTo(id: string, ask: Omit<Ask, "framing">): Promise<Attached> {
    const stream = await this.#boundStream(id, ask.owner);
    const { path, dialect, body } = keptOf(stream.record);
    const isSame = path === ask.path && dialect === ask.dialect &&
      JSON.stringify(ask.body) === JSON.stringify(body);
    if (!isSame) {
      throw new RequestError(
        "Cannot accept the request: its Idempotency-Key belongs to another request, use a new one",
        [],
        { code: "idempotency_key_reused", status: 422 },
      );
    }
    return await this.#attach(stream, this.#exchangeOf(stream.record), undefined);
  }

  async #begin(
    ask: Omit<Ask, "framing">,
    context: AnswerContext,
    { request, delivery }: Exchange,
  ): Promise<Stream> {
    this.streams.admit(ask.owner);
    const { onDisconnect, isResumable } = delivery;
    const { ready, take } = this.#options;
    const progress = request.events && new Progress();
    const generator = take(ask.owner, ready());
    const run = await this.#run(generator, this.#capped(request), progress, ask.watch);
    try {
      ready();
    } catch (refusal) {
      await run.cancel();
      throw refusal;
    }
    const { path, dialect, body, seed } = ask;
    const kept: KeptRequest = { path, dialect, body, seed, context, onDisconnect };
    const record = {
      id: context.id,
      owner: ask.owner,
      createdAt: Date.now(),
      request: kept,
    };
    const stream = await this.streams.create({
      record,
      onDisconnect,
      isStored: isResumable,
      start: run.start,
      source: run,
    });
    if (progress !== undefined) this.#tell(stream, progress);
    return stream;
  }

  #run(
    generator: Generator,
    request: GenerateRequest,
    progress: Progress | undefined,
    asked?: RequestWatch,
  ): Promise<Run> {
    const watch = this.#options.telemetry.generation(asked, generator.model.id, request);
    return Run.begin(generator, request, this.#report, progress, watch);
  }

  #capped(request: GenerateRequest): GenerateRequest {
    const { maxTokens } = this.#options;
    if (maxTokens === undefined || maxTokens >= (request.maxTokens ?? Infinity)) return request;
    return { ...request, maxTokens };
  }

  async #attach(
    stream: Stream,
    exchange: Exchange,
    cursor: Cursor | undefined,
    dialect?: string,
  ): Promise<Attached> {
    const isWhole = dialect !== undefined &&
      this.#options.routes.named(dialect).route.readsFromStart === true;
    // Part of an event is written again with what the event before it said.
    const seq = cursor === undefined || isWhole
      ? 0
      : cursor.part === undefined
      ? cursor.seq + 1
      : Math.max(0, cursor.seq - 1);
    const reader = await this.streams.attach(stream, seq, cursor !== undefined);
    const progress = this.#progressOf(stream, exchange);
    return { stream, reader, exchange, context: keptOf(stream.record).context, cursor, progress };
  }

  /** Where a reader hears what is told of a stream that runs; also before it is revived. */
  #progressOf(stream: Stream, { request }: Exchange): Progress | undefined {
    if (request.events === undefined || stream.ended) return undefined;
    return this.#progress.get(stream.record.id) ?? this.#tell(stream, new Progress());
  }

  /** Keeps where a stream's readers hear what is told of it, until it is over. */
  #tell(stream: Stream, progress: Progress): Progress {
    const { id } = stream.record;
    this.#progress.set(id, progress);
    void stream.over.then(() => this.#progress.delete(id));
    return progress;
  }

  /** A new encoder; the request's own options count only where it is read as it was asked for. */
  encoder({ stream, exchange, context }: Attached, dialect?: string): Encode {
    const own = keptOf(stream.record).dialect;
    const isOwn = exchange.stream && (dialect ?? own) === own;
    if (isOwn) return exchange.encoder();
    return this.#options.routes.named(dialect ?? own).route.encoder(context);
  }

  async #respond(attached: Attached, view: Omit<View, "isLate">): Promise<Response> {
    const { stream, reader, exchange, cursor, opening, progress } = attached;
    const { keepAliveMs, grouping, routes, telemetry } = this.#options;
    const { id } = stream.record;
    const ending = new Ending();
    const known = { "x-stream-id": id, ...await timingsOf(stream) };
    if (!exchange.stream && view.dialect === undefined) {
      const answer = exchange.answer.bind(exchange);
      const body = wholeBody(reader, answer, keepAliveMs, ending);
      const headers = { ...JSON_HEADERS, ...known };
      return withEnding(new Response(body, { headers }), ending);
    }
    const { framing } = view;
    const { dialect, route } = routes.named(view.dialect ?? keptOf(stream.record).dialect);
    const body = eventStream({
      reader,
      encode: this.encoder(attached, view.dialect),
      id: route.frames === undefined ? id : undefined,
      frames: route.frames,
      cursor,
      opening,
      progress,
      keepAliveMs,
      isDegraded: () => stream.degraded,
      framing,
      opensWithMessage: dialect.opensWithMessage,
      shutdown: dialect.shutdown,
      ending,
      onFlush: (bytes) => telemetry.log.flush(id, bytes),
      report: (failure) => telemetry.failed(failure),
    }, grouping);
    const headers = { ...STREAM_HEADERS, "content-type": framing.contentType, ...known };
    return withEnding(new Response(body, { headers }), ending);
  }

  #exchangeOf(record: StreamRecord): Exchange {
    const { dialect, body, seed, context } = keptOf(record);
    return this.#options.routes.named(dialect).route.accept(withSeed(body, seed), context);
  }

  async #revive(record: StreamRecord, events: readonly StreamEvent[]): Promise<StreamSource> {
    const { request } = this.#exchangeOf(record);
    const generator = await this.#options.generator;
    const asked = this.#capped(changed(request, keptOf(record).change));
    const progress = this.#progress.get(record.id);
    // A process that was lost before the start event leaves nothing to go on from.
    if (events.length === 0) {
      return (await this.#run(generator, asked, progress)).withStart();
    }
    return await this.#run(generator, { ...asked, resume: resumePoint(events) }, progress);
  }
}
