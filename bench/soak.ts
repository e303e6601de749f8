/**
 * The soak: many readers of event streams for minutes, and readers that stall among them; what is
 * lost, what comes twice, and what it costs the server. There is no model in it.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { pause, within } from "../src/stream/within.ts";
import { type RuntimeName, RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { runtimeWords } from "./entrants.ts";
import { LineContender } from "./line_contender.ts";
import { choose, positive, runBench, showProgress, takeMachine } from "./options.ts";
import { SoakReader } from "./soak_reader.ts";
import { LARGE_PROMPT, PACE_MS, type SoakLook } from "./soak_server.ts";

const HELP = `Usage: bun bench/soak.ts [options]     or: deno run -A bench/soak.ts [options]

  --readers N        readers at once, 10 events a second each (1000)
  --seconds N        how long they read (120)
  --stalled N        how many of them stall in a second, shorter run; 0 leaves it out (200)
  --runtime LIST     runtimes that serve, with commas: bun,deno (both)
`;

/** One run. */
export interface Soak {
  readonly runtime: RuntimeName;
  /** Readers that read. */
  readonly live: number;
  /** Readers that do not, and come when the others have read for a while. */
  readonly stalled: number;
  /** Milliseconds after which these are put out. Default 5000. */
  readonly stallMs?: number;
  readonly seconds: number;
}

/** How late events were in a part of a run. */
export interface Lag {
  /** Milliseconds from when an event was due to its coming: half and 99 % of them are below. */
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
  /** Milliseconds that the server's own event loop was late, at most. */
  readonly loopMs: number;
}

/** Memory of the server with all live readers attached, in bytes. */
export interface SoakMemory {
  /** Resident, over the first tenth of the measured time. */
  readonly start: number;
  /** How much more over the last tenth. */
  readonly grown: number;
  /** How much more at most. */
  readonly most: number;
  /** Resident after a collection, before and after the measured time. */
  readonly collected: readonly [before: number, after: number];
  /** Of it, what the logs keep. */
  readonly logs: readonly [before: number, after: number];
}

/** What came of it. */
export interface SoakFigures {
  /** Events of all live readers together that never came. */
  readonly lost: number;
  /** Events that came again. */
  readonly duplicated: number;
  /** Live readers that did not get the terminal event. */
  readonly cut: number;
  /** Stalled readers that the server put out. */
  readonly evicted: number;
  /** While the readers came and the server was cold. */
  readonly opening: Lag;
  /** With all live readers there. */
  readonly steady: Lag;
  /** From the coming of the stalled ones on. */
  readonly crowded: Lag | undefined;
  readonly memory: SoakMemory;
  /** CPU time of the server by the measured time; 1 is one core. */
  readonly cpuShare: number;
}

const READERS_PER_STREAM = 20;
const STALL_MS = 5000;
/** A second run is as long as an eviction takes, and some. */
const STALLED_SECONDS_MAX = 24;
/** Connections that are opened at once. */
const BATCH = 50;
/** Parts of a run at which something happens; what is measured is measured between two of them. */
const AT = { collect: 0.1, measure: 0.2, stall: 0.4, end: 0.95 };
/** How long readers may take to their end after the last event. */
const END_MS = 30_000;
/** Between two looks at the memory. */
const SAMPLE_MS = 250;
const MIB = 1 << 20;

async function inBatches<T>(count: number, make: (i: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  for (let first = 0; first < count; first += BATCH) {
    const n = Math.min(BATCH, count - first);
    made.push(...await Promise.all(Array.from({ length: n }, (_, i) => make(first + i))));
  }
  return made;
}

/** Opens the live readers, so many on one stream; whoever comes later gets all of it too. */
async function openLive(url: string, count: number): Promise<SoakReader[]> {
  const body = { prompt: "paced", on_disconnect: "continue" };
  const makers = await inBatches(
    Math.ceil(count / READERS_PER_STREAM),
    () => SoakReader.open(url, "/v1/stream", body),
  );
  const ids = await Promise.all(makers.map((reader) => reader.id()));
  const others = await inBatches(
    count - makers.length,
    (i) => SoakReader.open(url, `/v1/streams/${ids[i % ids.length]}`),
  );
  return [...makers, ...others];
}

async function openStalled(url: string, count: number): Promise<SoakReader[]> {
  return await inBatches(count, async () => {
    const reader = await SoakReader.open(url, "/v1/stream", { prompt: LARGE_PROMPT });
    await reader.id();
    reader.stall();
    return reader;
  });
}

/** A server in a process of its own, and what is seen of it. */
class SoakServer implements AsyncDisposable {
  readonly #process: LineContender;
  readonly url: string;
  /** Resident bytes, one sample after the other. */
  readonly #samples: number[] = [];
  #sampler: ReturnType<typeof setInterval> | undefined;

  private constructor(process: LineContender, url: string) {
    this.#process = process;
    this.url = url;
  }

  static async start(runtime: RuntimeName, tokens: number, stallMs: number): Promise<SoakServer> {
    const root = checkoutRoot();
    const collectable = runtime === "bun" ? "--expose-gc" : "--v8-flags=--expose-gc";
    const script = [join("bench", "soak_server.ts"), tokens, stallMs].map(String);
    const command = [...await runtimeWords(runtime, root), collectable, ...script];
    const process = LineContender.start(`the soak on ${runtime}`, command, root);
    const { url } = await process.readLine<{ url: string }>();
    return new SoakServer(process, url);
  }

  get cpuMs(): number {
    return this.#process.processes.cpuMs();
  }

  get #residentBytes(): number {
    return this.#process.processes.memory().residentBytes;
  }

  async look(what: "look" | "collect" = "look"): Promise<SoakLook> {
    this.#process.processes.input.write(`${what}\n`);
    return await this.#process.readLine<SoakLook>();
  }

  /** Collects garbage; what is resident then, and what the logs keep of it. */
  async collect(): Promise<{ residentBytes: number; logBytes: number }> {
    await this.look("collect");
    // A moment later, because memory is given back on the side.
    await pause(SAMPLE_MS);
    const { counts } = await this.look();
    return { residentBytes: this.#residentBytes, logBytes: counts.bytes };
  }

  /** Begins to look at the memory. */
  sample(): void {
    const look = (): number => this.#samples.push(this.#residentBytes);
    look();
    this.#sampler = setInterval(look, SAMPLE_MS);
  }

  /** Ends that; gives where it began, and how much more there was at the end and at most. */
  sampled(): Pick<SoakMemory, "start" | "grown" | "most"> {
    clearInterval(this.#sampler);
    const samples = this.#samples;
    const tenth = Math.ceil(samples.length / 10);
    const mean = (part: number[]): number => part.reduce((sum, x) => sum + x, 0) / part.length;
    const start = mean(samples.slice(0, tenth));
    return {
      start,
      grown: mean(samples.slice(-tenth)) - start,
      most: Math.max(...samples) - start,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sampler);
    await this.#process[Symbol.asyncDispose]();
  }
}

/** How late everything was that came since the last call. */
async function lagOf(server: SoakServer, readers: readonly SoakReader[]): Promise<Lag> {
  const { loopMs } = await server.look();
  const lags = Float64Array.from(readers.flatMap((reader) => reader.takeLags())).sort();
  const at = (part: number): number => lags[Math.floor(part * (lags.length - 1))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), most: at(1), loopMs };
}

/** Runs one soak: the server in a process of its own, the readers in this one. */
export async function soak(run: Soak): Promise<SoakFigures> {
  const { runtime, live, stalled, stallMs = STALL_MS, seconds } = run;
  const tokens = Math.round(seconds * 1000 / PACE_MS);
  await using server = await SoakServer.start(runtime, tokens, stallMs);
  const startMs = performance.now();
  const reach = (part: number): Promise<void> =>
    pause(Math.max(0, startMs + seconds * 1000 * part - performance.now()));
  const readers = await openLive(server.url, live);
  await reach(AT.collect);
  const before = await server.collect();
  await reach(AT.measure);
  const opening = await lagOf(server, readers);
  const [measuredMs, cpuMs] = [performance.now(), server.cpuMs];
  server.sample();
  let steady: Lag | undefined;
  let idle: SoakReader[] = [];
  if (stalled > 0) {
    await reach(AT.stall);
    steady = await lagOf(server, readers);
    idle = await openStalled(server.url, stalled);
  }
  await reach(AT.end);
  const last = await lagOf(server, readers);
  const cpuShare = (server.cpuMs - cpuMs) / (performance.now() - measuredMs);
  const sampled = server.sampled();
  const after = await server.collect();
  await within(Promise.all(readers.map(({ over }) => over)), END_MS);
  const { counts } = await server.look();
  for (const reader of [...readers, ...idle]) reader.close();
  const sum = (of: (reader: SoakReader) => number): number =>
    readers.reduce((total, reader) => total + of(reader), 0);
  return {
    lost: sum((reader) => reader.lost(tokens)),
    duplicated: sum(({ duplicated }) => duplicated),
    cut: sum(({ isComplete }) => isComplete ? 0 : 1),
    evicted: counts.stalledReaders,
    opening,
    steady: steady ?? last,
    crowded: steady && last,
    memory: {
      ...sampled,
      collected: [before.residentBytes, after.residentBytes],
      logs: [before.logBytes, after.logBytes],
    },
    cpuShare,
  };
}

/** What is printed of a run, in lines. */
function linesOf({ runtime, live, stalled, seconds }: Soak, figures: SoakFigures): string {
  const { lost, duplicated, cut, evicted, opening, steady, crowded, memory, cpuShare } = figures;
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(0)} MiB`;
  const more = (bytes: number): string => `${bytes < 0 ? "-" : "+"}${mib(Math.abs(bytes))}`;
  const change = ([from, to]: readonly [number, number]): string =>
    `${mib(from)} ${more(to - from)}`;
  const lag = (name: string, { p50, p99, most, loopMs }: Lag): string =>
    `  lag ${name}: p50 ${p50} ms, p99 ${p99} ms, most ${most} ms; event loop late by ${loopMs} ms\n`;
  return `${runtime}: ${live} readers, ${seconds} s: ${lost} lost, ${duplicated} duplicated, ` +
    `${cut} cut; ${evicted} of ${stalled} stalled evicted; CPU ${(cpuShare * 100).toFixed(0)} % ` +
    `of a core\n${lag("while they came", opening)}${lag("then", steady)}` +
    `${crowded === undefined ? "" : lag("with stalled ones", crowded)}` +
    `  RSS ${mib(memory.start)} ${more(memory.grown)}, at most ${more(memory.most)}; after a ` +
    `collection ${change(memory.collected)}; in the logs ${change(memory.logs)}\n`;
}

async function bench(args: string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      readers: { type: "string", default: "1000" },
      seconds: { type: "string", default: "120" },
      stalled: { type: "string", default: "200" },
      runtime: { type: "string", default: RUNTIMES.join() },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const readers = positive("readers", values.readers);
  const seconds = positive("seconds", values.seconds);
  const stalled = values.stalled === "0" ? 0 : positive("stalled", values.stalled);
  using _ = await takeMachine(signal);
  let isWell = true;
  for (const runtime of choose("runtime", values.runtime, RUNTIMES, (name) => name)) {
    const runs: Soak[] = [{ runtime, live: readers, stalled: 0, seconds }];
    const shorter = Math.min(seconds, STALLED_SECONDS_MAX);
    if (stalled > 0) runs.push({ runtime, live: readers - stalled, stalled, seconds: shorter });
    for (const run of runs) {
      if (signal.aborted) return 1;
      showProgress(`${runtime}: ${run.live} readers for ${run.seconds} s`);
      const figures = await soak(run);
      showProgress("");
      process.stdout.write(linesOf(run, figures));
      const isWhole = figures.lost + figures.duplicated + figures.cut === 0;
      isWell &&= isWhole && figures.evicted >= run.stalled;
    }
  }
  return isWell ? 0 : 1;
}

if (import.meta.main) await runBench(bench);
