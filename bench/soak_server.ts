/**
 * The server of the soak: streams of paced tokens that say when they were made, and streams of
 * large events that nobody paces; no model. It prints its URL, then its counts for each line that
 * it reads.
 *
 * Arguments: tokens of a paced stream, milliseconds after which a stalled reader is put out.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { createHandler } from "../src/server/handler.ts";
import {
  complete,
  MockGenerator,
  type Script,
  START,
  token,
} from "../tests/support/mock_generator.ts";
import { serveHere } from "../tests/support/serve_here.ts";

/** Prompt of a stream of large events. */
export const LARGE_PROMPT = "large";
/** Between two tokens of a paced stream. */
export const PACE_MS = 100;

const LARGE_TEXT = "x".repeat(64 * 1024);
const LIMITS = { readersMax: 10_000, streamsMax: 10_000, logBytesMax: 256 * 1024 };

const until = (atMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, Math.max(0, atMs - Date.now())));

function scriptOf(tokens: number): Script {
  return function* ({ prompt }) {
    yield START;
    const startMs = Date.now();
    for (let seq = 1; seq <= tokens || prompt === LARGE_PROMPT; seq++) {
      if (prompt !== LARGE_PROMPT) yield until(startMs + seq * PACE_MS);
      yield token(prompt === LARGE_PROMPT ? LARGE_TEXT : `made:${Date.now()}`, seq);
    }
    yield complete(tokens);
  };
}

async function main(tokens: number, stallMs: number): Promise<void> {
  const mock = new MockGenerator(scriptOf(tokens));
  const handler = createHandler(mock, { streams: { ...LIMITS, stallMs } });
  const { url } = await serveHere(handler);
  const say = (line: unknown): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);
  say({ url });
  for await (const _ of createInterface({ input: process.stdin })) say(handler.streams);
}

if (import.meta.main) {
  const [tokens, stallMs] = process.argv.slice(2).map(Number);
  await main(tokens!, stallMs!);
}
