/**
 * The server of the soak: streams of paced tokens that say when they were due, and streams of large
 * events that nobody paces; no model. It prints its URL, then how it is for each line that it
 * reads: "look", or "collect" to collect garbage first.
 *
 * Arguments: tokens of a paced stream, milliseconds after which a stalled reader is put out.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { createHandler } from "../src/server/handler.ts";
import type { StreamCounts } from "../src/stream/limits.ts";
import {
  complete,
  MockGenerator,
  type Script,
  START,
  token,
} from "../tests/support/mock_generator.ts";
import { serveHere } from "../tests/support/serve_here.ts";

/** What the server tells about itself. */
export interface SoakLook {
  readonly counts: StreamCounts;
  /** Milliseconds that its event loop was late, at most, since the last look. */
  readonly loopMs: number;
}

/** Prompt of a stream of large events. */
export const LARGE_PROMPT = "large";
/** Between two tokens of a paced stream. */
export const PACE_MS = 100;

const LARGE_TEXT = "x".repeat(64 * 1024);
/** Logs are full after some 16 s, so that what they keep is no growth later on. */
const LIMITS = { readersMax: 10_000, streamsMax: 10_000, logBytesMax: 32 * 1024 };
/** How often the event loop is looked at. */
const LOOK_MS = 10;

const until = (atMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, Math.max(0, atMs - Date.now())));

function scriptOf(tokens: number): Script {
  return function* ({ prompt }) {
    yield START;
    const startMs = Date.now();
    for (let seq = 1; seq <= tokens || prompt === LARGE_PROMPT; seq++) {
      const dueMs = startMs + seq * PACE_MS;
      if (prompt !== LARGE_PROMPT) yield until(dueMs);
      yield token(prompt === LARGE_PROMPT ? LARGE_TEXT : `due:${dueMs}`, seq);
    }
    yield complete(tokens);
  };
}

/** Watches how late the event loop is; gives the most since it was last asked. */
function watchLoop(): () => number {
  let [last, most] = [performance.now(), 0];
  setInterval(() => {
    const now = performance.now();
    most = Math.max(most, now - last - LOOK_MS);
    last = now;
  }, LOOK_MS);
  return () => {
    const told = Math.round(most);
    most = 0;
    return told;
  };
}

/** Both runtimes have it where they are started with `--expose-gc`. */
const { gc } = globalThis as { gc?: () => void };

async function main(tokens: number, stallMs: number): Promise<void> {
  const mock = new MockGenerator(scriptOf(tokens));
  const handler = createHandler(mock, { streams: { ...LIMITS, stallMs } });
  const { url } = await serveHere(handler);
  const lateness = watchLoop();
  const say = (line: unknown): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);
  say({ url });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "collect") gc?.();
    say({ counts: handler.streams, loopMs: lateness() } satisfies SoakLook);
  }
}

if (import.meta.main) {
  const [tokens, stallMs] = process.argv.slice(2).map(Number);
  await main(tokens!, stallMs!);
}
