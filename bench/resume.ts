/**
 * What it takes to resume a stream of 10,000 events: a reader asks for all of them, and the time
 * runs from its request to the last byte; from memory, and from a SQLite file whose streams the
 * handler does not know yet.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { createHandler, type Handler } from "../src/server/handler.ts";
import { SqliteStore } from "../src/stream/stores/sqlite.ts";
import { RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { complete, MockGenerator, START, token } from "../tests/support/mock_generator.ts";
import { runtimeWords } from "./entrants.ts";
import { LineContender } from "./line_contender.ts";
import { choose, positive, runBench } from "./options.ts";

const HELP = `Usage: bun bench/resume.ts [options]     or: deno run -A bench/resume.ts [options]

  --events N         tokens of the stream (10000)
  --rounds N         how often each way is measured (10)
  --runtime LIST     runtimes that are measured, with commas: bun,deno (both)
`;

/** Times of the resumptions of one way, in milliseconds. */
export interface ResumeFigures {
  readonly way: "memory" | "sqlite";
  readonly best: number;
  readonly median: number;
  readonly most: number;
}

/** What a resumption of 10,000 events may take. */
const GOAL_MS = 50;
/** Room for all events of a stream. */
const LOG_BYTES = 64 << 20;

function makeHandler(events: number, store?: SqliteStore): Handler {
  const tokens = Array.from({ length: events }, (_, i) => token(`token ${i}`, i + 1));
  return createHandler(new MockGenerator(() => [START, ...tokens, complete(events)]), {
    streams: { logBytesMax: LOG_BYTES },
    ...(store !== undefined && { store }),
  });
}

async function make(handler: Handler): Promise<string> {
  const body = JSON.stringify({ prompt: "Hi" });
  const response = await handler(
    new Request("http://localhost/v1/stream", { method: "POST", body }),
  );
  await response.arrayBuffer();
  return response.headers.get("x-stream-id")!;
}

/** Milliseconds from the request for what follows the first event to the last byte. */
async function resume(handler: Handler, id: string, events: number): Promise<number> {
  // As on a socket: a request without a host is one in process, whose body is piped once more.
  const headers = { host: "localhost" };
  const startMs = performance.now();
  const request = new Request(`http://localhost/v1/streams/${id}?from=0`, { headers });
  const chunks: Uint8Array[] = [];
  for await (const bytes of (await handler(request)).body!) chunks.push(bytes);
  const ms = performance.now() - startMs;
  const decoder = new TextDecoder();
  const text = chunks.map((bytes) => decoder.decode(bytes, { stream: true })).join("");
  const count = text.match(/^event: token$/gm)?.length;
  if (count === events) return ms;
  throw new RangeError(`Cannot measure the resumption: ${count} tokens came, expected ${events}`);
}

function figuresOf(way: ResumeFigures["way"], times: number[]): ResumeFigures {
  times.sort((a, b) => a - b);
  const [best, median] = [times[0]!, times[Math.floor(times.length / 2)]!];
  return { way, best, median, most: times.at(-1)! };
}

/** Resumes a stream of so many events in this process, in both ways. */
export async function measureResume(events: number, rounds: number): Promise<ResumeFigures[]> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-resume-"));
  try {
    const handler = makeHandler(events);
    const id = await make(handler);
    const memory: number[] = [];
    for (let round = 0; round < rounds; round++) memory.push(await resume(handler, id, events));
    const path = join(folder, "streams.db");
    const first = makeHandler(events, new SqliteStore(path));
    const kept = await make(first);
    await first.drain();
    const sqlite: number[] = [];
    for (let round = 0; round < rounds; round++) {
      // A new handler knows no stream but those of its store, as a new process does.
      const next = makeHandler(events, new SqliteStore(path));
      sqlite.push(await resume(next, kept, events));
      await next.drain();
    }
    return [figuresOf("memory", memory), figuresOf("sqlite", sqlite)];
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bench(args: string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      events: { type: "string", default: "10000" },
      rounds: { type: "string", default: "10" },
      runtime: { type: "string", default: RUNTIMES.join() },
      here: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const [events, rounds] = [positive("events", values.events), positive("rounds", values.rounds)];
  if (values.here) {
    process.stdout.write(`${JSON.stringify(await measureResume(events, rounds))}\n`);
    return 0;
  }
  let isMet = true;
  for (const runtime of choose("runtime", values.runtime, RUNTIMES, (name) => name)) {
    if (signal.aborted) return 1;
    const words = [join("bench", "resume.ts"), "--here", "--events", events, "--rounds", rounds];
    const root = checkoutRoot();
    const command = [...await runtimeWords(runtime, root), ...words.map(String)];
    await using child = LineContender.start(`resuming on ${runtime}`, command, root);
    for (const { way, best, median, most } of await child.readLine<ResumeFigures[]>()) {
      const [low, middle, high] = [best, median, most].map((ms) => ms.toFixed(1));
      isMet &&= median < GOAL_MS;
      process.stdout.write(
        `${runtime}, ${way}: ${events} events in ${middle} ms (${low} to ${high})\n`,
      );
    }
  }
  return isMet ? 0 : 1;
}

if (import.meta.main) await runBench(bench);
