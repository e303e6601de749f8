/**
 * What a server measures, by the names under which Prometheus finds it.
 *
 * What somebody knows anyway is read when it is asked for; only what happens once is counted when
 * it happens. No label holds what a client has written.
 *
 * @module
 */
import type { GeneratorLoad } from "../engine/generator.ts";
import type { FinishReason, GenerationStats } from "../stream/event.ts";
import type { StreamCounts } from "../stream/limits.ts";
import type { DownloadCounts } from "./downloads.ts";
import { type Distribution, Registry } from "./exposition.ts";

/** What is read when the metrics are asked for. */
export interface MetricSources {
  readonly streams: StreamCounts;
  /** WebSockets that are open. */
  readonly sockets: number;
  /** The model is loaded and takes requests. */
  readonly isReady: boolean;
  /** Undefined where the generator does not say. */
  readonly load: GeneratorLoad | undefined;
  /** Undefined where there are no routes for downloads. */
  readonly downloads: DownloadCounts | undefined;
}

/** A request that is over. */
export interface EndedRequest {
  /** Pattern of the route. */
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
  /** The client left before the end of the body. */
  readonly isGone: boolean;
}

const REQUEST_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
const FIRST_TOKEN_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80];
const TOKEN_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5];
const FINISH_REASONS: readonly FinishReason[] = [
  "length",
  "stop",
  "eos",
  "tool_calls",
  "cancelled",
  "error",
];
/** Limits that are counted here, where a request or a socket meets them; see `SluiceError`. */
const MET_LIMITS = [
  "bodyBytesMax",
  "ctxSize",
  "queueMax",
  "requestsPerMinute",
  "tokensPerMinute",
  "downloads.pulls",
  "sockets.messageBytesMax",
  "sockets.idleMs",
  "sockets.streamsMax",
  "sockets.sendBytesMax",
] as const;
/** Limits that streams and downloads count by themselves. */
const TOLD_LIMITS = /^(streams|downloads\.readers)\b/;
/** A refusal with 429 that has no limit of this server, such as one of a server behind it. */
const OTHER = "other";

interface ProcessLike {
  readonly process?: { readonly memoryUsage?: { readonly rss?: () => number } };
}

/** Bytes of memory that the process holds; undefined where the runtime does not tell. */
function residentBytes(): number | undefined {
  return (globalThis as ProcessLike).process?.memoryUsage?.rss?.();
}

/** All metrics of one handler. */
export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #startedS = Date.now() / 1000;
  readonly #inFlight = this.#gauge("http_requests_in_flight", "Requests that are being answered.");
  readonly #requests = this.#counter(
    "http_requests",
    "Requests by the pattern of their route; those that fit none are unmatched.",
    ["route", "method", "status"],
  );
  readonly #requestSeconds = this.#registry.histogram(
    "sluice_http_request_duration_seconds",
    "From the request to the end of its answer.",
    REQUEST_S,
    ["route", "method"],
  );
  readonly #gone = this.#counter("http_clients_gone", "Clients that left before the end.");
  readonly #sockets = this.#gauge("websockets", "WebSockets that are open.");
  readonly #running = this.#gauge("streams_running", "Streams that run.");
  readonly #paused = this.#gauge("streams_paused", "Running streams that nobody reads just now.");
  readonly #kept = this.#gauge("streams_kept", "Streams in memory, ended ones too.");
  readonly #readers = this.#gauge("stream_readers", "Readers of streams.");
  readonly #logBytes = this.#gauge("stream_log_bytes", "Memory of all events of streams.");
  readonly #pauses = this.#counter(
    "stream_pauses",
    "Times that a stream has waited 100 ms or more for its readers, and went on.",
  );
  readonly #resumed = this.#counter("stream_resumes", "Readers that came back with a cursor.");
  readonly #revived = this.#counter("stream_revivals", "Streams that outlived their process.");
  readonly #evictions = this.#counter("stream_reader_evictions", "Readers that were put out.", [
    "reason",
  ]);
  readonly #storeFailures = this.#counter("store_failures", "Failures of the store of streams.");
  readonly #limits = this.#counter(
    "limit_hits",
    "Times that a limit was met, by the name of its option.",
    ["limit"],
  );
  readonly #ready = this.#gauge("ready", "1 where the model is loaded and takes requests.");
  readonly #slots = this.#gauge("slots", "Sequences that can run at once.");
  readonly #slotsUsed = this.#gauge("slots_used", "Sequences that run, paused ones included.");
  readonly #queue = this.#gauge("queue_length", "Requests that wait for a slot.");
  readonly #cacheBytes = this.#gauge("cache_bytes", "Size of the cache of keys and values.");
  readonly #generations = this.#counter("generations", "Generations by why they ended.", [
    "finish_reason",
  ]);
  readonly #promptTokens = this.#counter("prompt_tokens", "Tokens of prompts.");
  readonly #cachedTokens = this.#counter(
    "prompt_tokens_cached",
    "Tokens of prompts that were in the cache and not computed again.",
  );
  readonly #tokens = this.#counter("generated_tokens", "Tokens that were sampled.");
  /** Seconds from the start of a generation to its first token. */
  readonly firstToken: Distribution = this.#seconds(
    "time_to_first_token",
    "From the start of a generation to its first token, in the queue too.",
    FIRST_TOKEN_S,
  );
  /** Seconds that a stream waited for a token after the first. */
  readonly nextToken: Distribution = this.#seconds(
    "inter_token",
    "From the demand for a token after the first to that token; a slow reader does not count.",
    TOKEN_S,
  );
  readonly #queueSeconds = this.#seconds("queue", "In the queue for a slot.", FIRST_TOKEN_S);
  readonly #prefillSeconds = this.#seconds("prefill", "Computing of a prompt.", FIRST_TOKEN_S);
  readonly #totalSeconds = this.#seconds("generation", "Whole generations.", REQUEST_S);
  readonly #downloads = this.#gauge("downloads_running", "Downloads of models that run.");
  readonly #listeners = this.#gauge("download_readers", "Readers of the progress of downloads.");
  readonly #failures = this.#counter("failures", "Failures that were written into the log.");

  /** Nothing has happened yet. */
  constructor() {
    for (const limit of [...MET_LIMITS, OTHER]) this.#limits.set(0, limit);
    for (const reason of FINISH_REASONS) this.#generations.set(0, reason);
  }

  #counter(name: string, help: string, labels: readonly string[] = []) {
    return this.#registry.counter(`sluice_${name}_total`, help, labels);
  }

  #gauge(name: string, help: string) {
    return this.#registry.gauge(`sluice_${name}`, help);
  }

  #seconds(name: string, help: string, bounds: readonly number[]): Distribution {
    return this.#registry.histogram(`sluice_${name}_seconds`, help, bounds).of();
  }

  /** A request has come. */
  requestBegun(): void {
    this.#inFlight.add(1);
  }

  /** A request is over. */
  requestEnded({ route, method, status, seconds, isGone }: EndedRequest): void {
    this.#inFlight.add(-1);
    this.#requests.add(1, route, method, String(status));
    this.#requestSeconds.of(route, method).observe(seconds);
    if (isGone) this.#gone.add(1);
  }

  /** A limit was met; undefined where it has no name. */
  limitMet(limit: string | undefined): void {
    if (limit !== undefined && TOLD_LIMITS.test(limit)) return;
    this.#limits.add(1, MET_LIMITS.find((known) => known === limit) ?? OTHER);
  }

  /** Something has failed. */
  failed(): void {
    this.#failures.add(1);
  }

  /** A generation has begun, with a prompt of so many tokens. */
  promptBegun(tokens: number): void {
    this.#promptTokens.add(tokens);
  }

  /** Tokens were sampled. */
  sampled(tokens: number): void {
    this.#tokens.add(tokens);
  }

  /** So many tokens of a prompt were there already. */
  cached(tokens: number): void {
    this.#cachedTokens.add(tokens);
  }

  /** A generation has ended; without statistics where it failed. */
  generationEnded(reason: FinishReason, stats: GenerationStats | undefined): void {
    this.#generations.add(1, FINISH_REASONS.find((known) => known === reason) ?? OTHER);
    if (stats === undefined) return;
    this.#queueSeconds.observe(stats.queueMs / 1000);
    this.#prefillSeconds.observe(stats.prefillMs / 1000);
    this.#totalSeconds.observe(stats.totalMs / 1000);
  }

  /** All of it as text. */
  expose({ streams, sockets, isReady, load, downloads }: MetricSources): string {
    this.#collect(streams);
    this.#sockets.set(sockets);
    this.#ready.set(isReady ? 1 : 0);
    this.#slots.set(load?.slots ?? 0);
    this.#slotsUsed.set(load?.running ?? 0);
    this.#queue.set(load?.waiting ?? 0);
    this.#cacheBytes.set(load?.cacheBytes ?? 0);
    this.#downloads.set(downloads?.running ?? 0);
    this.#listeners.set(downloads?.readers ?? 0);
    this.#limits.set(downloads?.refused ?? 0, "downloads.readers");
    this.#limits.set(downloads?.evicted ?? 0, "downloads.stallMs");
    return this.#registry.expose() + this.#process();
  }

  #collect(counts: StreamCounts): void {
    this.#running.set(counts.running);
    this.#paused.set(counts.paused);
    this.#kept.set(counts.streams);
    this.#readers.set(counts.readers);
    this.#logBytes.set(counts.bytes);
    this.#pauses.set(counts.pauses);
    this.#resumed.set(counts.resumed);
    this.#revived.set(counts.revived);
    this.#evictions.set(counts.stalledReaders, "stalled");
    this.#evictions.set(counts.expiredReaders, "expired");
    this.#storeFailures.set(counts.storeFailures);
    const limits = {
      readersMax: counts.refusedReaders,
      streamsMax: counts.refusedStreams,
      stallMs: counts.stalledReaders,
      subscriberMs: counts.expiredReaders,
      logBytesMax: counts.droppedEvents,
      pauseMs: counts.endedPauses,
      ageMs: counts.droppedStreams - counts.crowdedStreams,
      memoryBytesMax: counts.crowdedStreams,
      storeAgeMs: counts.sweptStreams,
    };
    for (const [name, hits] of Object.entries(limits)) this.#limits.set(hits, `streams.${name}`);
  }

  /** What is told of every process, by the names that all programs use. */
  #process(): string {
    const registry = new Registry();
    const bytes = residentBytes();
    if (bytes !== undefined) {
      registry.gauge("process_resident_memory_bytes", "Resident memory size in bytes.").set(bytes);
    }
    registry.gauge("process_start_time_seconds", "Start of the handler, in Unix seconds.")
      .set(this.#startedS);
    return registry.expose();
  }
}
