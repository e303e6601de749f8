/**
 * The routes of model downloads: `POST /v1/models/pull` begins one,
 * `GET /v1/models/download/progress` tells how far they are.
 *
 * @module
 */
import { encodeSseBytes, type SseMessage } from "../stream/sse.ts";
import { readJsonObject } from "./body.ts";
import { Ending, type Outcome, withEnding } from "./ending.ts";
import { STREAM_HEADERS } from "./event_stream.ts";
import { checkFields, expected, objectOf } from "./fields.ts";
import { refuseCrossSite } from "./gate.ts";
import { json } from "./json_response.ts";
import { SILENCE, Silence } from "./silence.ts";

/** What happens to one download. */
export type DownloadNotice =
  | { readonly type: "started" | "complete"; readonly modelRef: string }
  | {
    readonly type: "progress";
    readonly modelRef: string;
    readonly bytes: number;
    /** null while it is unknown. */
    readonly total: number | null;
  }
  | { readonly type: "error"; readonly modelRef: string; readonly message: string };

/** Reads what happens, without anybody waiting for it. */
export interface DownloadListener {
  /** The next notice; undefined once it is closed or was put out. */
  next(): Promise<DownloadNotice | undefined>;
  /** Told when the listener is put out. */
  onEnd: (() => void) | undefined;
  /** Leaves. */
  close(): void;
}

/** How many downloads and listeners there are and were. */
export interface DownloadCounts {
  /** Downloads that run. */
  readonly running: number;
  /** Listeners that there are. */
  readonly readers: number;
  /** Listeners that were put out because they did not read. */
  readonly evicted: number;
  /** Listeners that were refused because there were too many. */
  readonly refused: number;
}

/** Where models come from, as far as the routes know it; a `ModelStore` is one. */
export interface Downloads {
  /**
   * Begins to fetch a model, and does not wait for it. One that is being fetched goes on.
   *
   * @throws {RequestError | OverloadedError}
   */
  begin(modelRef: string): void;
  /**
   * Listens to all downloads, or to one. A new listener first hears of those that run.
   *
   * @throws {OverloadedError} when too many listen
   */
  subscribe(modelRef?: string): DownloadListener;
  /** Who counts those that listen, for metrics. Default nobody. */
  readonly tracker?: { readonly counts: DownloadCounts };
}

const PROGRESS_PATH = "/v1/models/download/progress";
const RETRY_MS = 3000;
/** After a shutdown the next process is there soon. */
const RETRY_SHUTDOWN_MS = 1000;
/** Most characters of a reference. */
const REF_CHARS_MAX = 512;

const schema = objectOf("an object with a model_ref", {
  model_ref: expected<string>(
    `a text of 1 to ${REF_CHARS_MAX} characters`,
    (value) => typeof value === "string" && value !== "" && value.length <= REF_CHARS_MAX,
  ),
});

/** A notice in the words of the wire. */
function messageOf(notice: DownloadNotice): SseMessage {
  const { type, modelRef } = notice;
  const data = {
    model_ref: modelRef,
    ...(type === "progress" && { bytes: notice.bytes, total: notice.total }),
    ...(type === "error" && { message: notice.message }),
  };
  return { event: type, data: JSON.stringify(data) };
}

/** What the routes are told by the handler. */
export interface DownloadRouteOptions {
  readonly bodyBytesMax: number;
  /** A ping after so many milliseconds of silence; 0 is never. */
  readonly keepAliveMs: number;
}

/** Both routes, and everybody who listens. */
export class DownloadRoutes {
  readonly #downloads: Downloads;
  readonly #options: DownloadRouteOptions;
  readonly #bodies = new Set<NoticeBody>();
  #isStopping = false;

  constructor(downloads: Downloads, options: DownloadRouteOptions) {
    this.#downloads = downloads;
    this.#options = options;
  }

  /** Each route: its method, its path, what it does. */
  get routes(): readonly [string, string, (request: Request) => Promise<Response> | Response][] {
    return [
      ["GET", PROGRESS_PATH, (request) => this.#progress(request)],
      ["POST", "/v1/models/pull", (request) => this.#pull(request)],
    ];
  }

  /** How many there are and were; undefined where nobody counts. */
  get counts(): DownloadCounts | undefined {
    return this.#downloads.tracker?.counts;
  }

  /** Ends every stream and tells its client when to come back; new ones end at once. */
  shutDown(): void {
    this.#isStopping = true;
    for (const body of [...this.#bodies]) body.shutDown();
  }

  #progress(request: Request): Response {
    refuseCrossSite(request);
    // It has no body, so nobody would ever leave.
    if (request.method === "HEAD") return new Response(null, { headers: streamHeaders() });
    const modelRef = new URL(request.url).searchParams.get("model_ref") ?? undefined;
    return this.#stream(this.#downloads.subscribe(modelRef), false);
  }

  /** Begins a pull; a client that accepts an event stream hears of this one until its end. */
  async #pull(request: Request): Promise<Response> {
    refuseCrossSite(request);
    const body = await readJsonObject(request, this.#options.bodyBytesMax);
    const { model_ref } = checkFields(schema, body);
    const wantsEvents = /\btext\/event-stream\b/.test(request.headers.get("accept") ?? "");
    const listener = wantsEvents ? this.#downloads.subscribe(model_ref) : undefined;
    try {
      this.#downloads.begin(model_ref);
    } catch (thrown) {
      listener?.close();
      throw thrown;
    }
    if (listener !== undefined) return this.#stream(listener, true);
    const progress = `${PROGRESS_PATH}?model_ref=${encodeURIComponent(model_ref)}`;
    const answer = { model_ref, status: "started", progress };
    return json(answer, 202);
  }

  #stream(listener: DownloadListener, isOfOne: boolean): Response {
    const ending = new Ending();
    const body: NoticeBody = new NoticeBody(listener, {
      keepAliveMs: this.#options.keepAliveMs,
      isOfOne,
      ending,
      onGone: () => void this.#bodies.delete(body),
    });
    this.#bodies.add(body);
    const stream = new ReadableStream<Uint8Array>(body, { highWaterMark: 0 });
    if (this.#isStopping) body.shutDown();
    return withEnding(new Response(stream, { headers: streamHeaders() }), ending);
  }
}

function streamHeaders(): Record<string, string> {
  return { ...STREAM_HEADERS, "content-type": "text/event-stream; charset=utf-8" };
}

interface NoticeBodyParts {
  readonly keepAliveMs: number;
  /** The body ends with the download. */
  readonly isOfOne: boolean;
  readonly ending: Ending;
  readonly onGone: () => void;
}

/** Notices as the body of one client, pulled one by one. */
class NoticeBody implements UnderlyingDefaultSource<Uint8Array> {
  readonly #listener: DownloadListener;
  readonly #parts: NoticeBodyParts;
  readonly #silence: Silence;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** What is waited for; a ping leaves it pending for the next pull. */
  #wanted: Promise<DownloadNotice | undefined> | undefined;
  #isPulled = false;
  #isGone = false;

  constructor(listener: DownloadListener, parts: NoticeBodyParts) {
    this.#listener = listener;
    this.#parts = parts;
    this.#silence = new Silence(parts.keepAliveMs);
  }

  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controller = controller;
    this.#send({ retry: RETRY_MS, comment: "ok" });
    // Put out because it does not read: it gets no more, and comes back when it can.
    this.#listener.onEnd = () => this.#close();
  }

  async pull(): Promise<void> {
    this.#isPulled = true;
    try {
      await this.#step();
    } finally {
      this.#isPulled = false;
    }
  }

  async #step(): Promise<void> {
    this.#wanted ??= this.#listener.next();
    const notice = await this.#silence.wait(this.#wanted);
    if (this.#isGone) return;
    if (notice === SILENCE) return this.#send({ comment: "ping" });
    this.#wanted = undefined;
    if (notice === undefined) return this.#close();
    this.#send(messageOf(notice));
    if (this.#parts.isOfOne && (notice.type === "complete" || notice.type === "error")) {
      this.#close();
    }
  }

  /** The server stops; the client is told when to come back. */
  shutDown(): void {
    if (this.#isGone) return;
    this.#send({ retry: RETRY_SHUTDOWN_MS, comment: "shutdown" });
    this.#close();
  }

  #send(message: SseMessage): void {
    const chunk = encodeSseBytes(message);
    this.#parts.ending.bytes += chunk.length;
    this.#controller?.enqueue(chunk);
  }

  #close(): void {
    if (this.#isGone) return;
    this.#leave("whole");
    this.#parts.ending.onEnd?.(!this.#isPulled);
    this.#controller?.close();
  }

  #leave(outcome: Outcome): void {
    this.#isGone = true;
    this.#parts.ending.over(outcome);
    this.#silence.stop();
    this.#listener.close();
    this.#parts.onGone();
  }

  /** The one sign of a disconnect that every runtime gives. */
  cancel(): void {
    if (!this.#isGone) this.#leave("gone");
  }
}
