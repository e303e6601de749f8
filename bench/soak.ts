/**
 * The soak: many readers of event streams for minutes, and readers that stall among them; what is
 * lost, what comes twice, and what it costs the server. There is no model in it.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { StreamCounts } from "../src/stream/streams.ts";
import { type RuntimeName, RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { runtimeWords } from "./entrants.ts";
import { LineContender } from "./line_contender.ts";
import { choose, positive, runBench, showProgress, takeMachine } from "./options.ts";
import { SoakReader } from "./soak_reader.ts";
import { LARGE_PROMPT, PACE_MS } from "./soak_server.ts";

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
  /** Readers that do not. */
  readonly stalled: number;
  readonly seconds: number;
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
  /** Milliseconds from making an event to its coming: half and 99 % of them are below. */
  readonly lagMs: { readonly p50: number; readonly p99: number; readonly most: number };
  /** Resident memory of the server with all readers attached. */
  readonly startBytes: number;
  /** How much more it was just before the end. */
  readonly grownBytes: number;
  /** CPU time of the server by the time that passed; 1 is one core. */
  readonly cpuShare: number;
}

const READERS_PER_STREAM = 20;
const STALL_MS = 5000;
/** A second run is as long as an eviction takes, and some. */
const STALLED_SECONDS_MAX = 20;
/** Connections that are opened at once. */
const BATCH = 50;
/** Before the first memory is read, so that the runtime has grown to its work. */
const SETTLE_PART = 0.2;
const MIB = 1 << 20;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

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

function lagOf(readers: readonly SoakReader[]): SoakFigures["lagMs"] {
  const lags = Float64Array.from(readers.flatMap(({ lagsMs }) => lagsMs)).sort();
  const at = (part: number): number => lags[Math.floor(part * (lags.length - 1))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), most: at(1) };
}

/** Runs one soak: the server in a process of its own, the readers in this one. */
export async function soak({ runtime, live, stalled, seconds }: Soak): Promise<SoakFigures> {
  const root = checkoutRoot();
  const tokens = Math.round(seconds * 1000 / PACE_MS);
  const words = [join("bench", "soak_server.ts"), tokens, STALL_MS].map(String);
  const command = [...await runtimeWords(runtime, root), ...words];
  await using server = LineContender.start(`the soak on ${runtime}`, command, root);
  const { url } = await server.readLine<{ url: string }>();
  const { processes } = server;
  const startMs = performance.now();
  const cpuMs = processes.cpuMs();
  const readers = await openLive(url, live);
  const idle = await openStalled(url, stalled);
  await pause(seconds * 1000 * SETTLE_PART);
  const startBytes = processes.memory().residentBytes;
  const patience = AbortSignal.timeout(seconds * 1000 + 30_000);
  const given = new Promise((resolve) => patience.addEventListener("abort", resolve));
  await Promise.race([Promise.all(readers.map(({ over }) => over)), given]);
  const grownBytes = processes.memory().residentBytes - startBytes;
  const cpuShare = (processes.cpuMs() - cpuMs) / (performance.now() - startMs);
  processes.input.write("counts\n");
  const counts = await server.readLine<StreamCounts>();
  for (const reader of [...readers, ...idle]) reader.close();
  const sum = (of: (reader: SoakReader) => number): number =>
    readers.reduce((total, reader) => total + of(reader), 0);
  return {
    lost: sum((reader) => reader.lost(tokens)),
    duplicated: sum(({ duplicated }) => duplicated),
    cut: sum(({ isComplete }) => isComplete ? 0 : 1),
    evicted: counts.stalledReaders,
    lagMs: lagOf(readers),
    startBytes,
    grownBytes,
    cpuShare,
  };
}

function lineOf({ runtime, live, stalled, seconds }: Soak, figures: SoakFigures): string {
  const { lost, duplicated, cut, evicted, lagMs, startBytes, grownBytes, cpuShare } = figures;
  const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
  return `${runtime}: ${live} readers, ${seconds} s: ${lost} lost, ${duplicated} duplicated, ` +
    `${cut} cut; ${evicted} of ${stalled} stalled evicted; lag p50 ${lagMs.p50} ms, ` +
    `p99 ${lagMs.p99} ms, most ${lagMs.most} ms; server RSS ${mib(startBytes)} MiB ` +
    `${grownBytes < 0 ? "-" : "+"}${mib(Math.abs(grownBytes))} MiB, ` +
    `CPU ${(cpuShare * 100).toFixed(0)} % of a core\n`;
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
      process.stdout.write(lineOf(run, figures));
      const isWhole = figures.lost + figures.duplicated + figures.cut === 0;
      isWell &&= isWhole && figures.evicted >= run.stalled;
    }
  }
  return isWell ? 0 : 1;
}

if (import.meta.main) await runBench(bench);
