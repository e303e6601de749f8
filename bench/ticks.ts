/**
 * Decoding by the core alone: no Worker, no tokenizer, no text, no server.
 *
 * usage: ticks.ts MODEL.gguf THREADS TOKENS
 *
 * Prints one line of JSON: the most tokens per second of several answers of so many tokens.
 *
 * @module
 */
import process from "node:process";
import { Core } from "../src/core/core.ts";
import { samplingRecord } from "../src/engine/sampling.ts";
import { type Answer, answerOf, decodeRate } from "./contender.ts";
import { PROMPT_TOKENS } from "./prompts.ts";

/** What the program prints. */
export interface TicksLine {
  readonly tokensPerSecond: number;
}

/** As many as the roofline's, whose best pass the best answer here is held against. */
const PASSES = 12;

/** Any ids will do where no text is made. */
const PROMPT_IDS = Int32Array.from({ length: PROMPT_TOKENS }, (_, index) => 1000 + index);

/** A core as a server loads it. */
export function loadCore(
  path: string,
  n_threads: number,
  n_ctx: number,
  n_streams: number,
): Promise<Core> {
  return Core.load({
    ...{ path, n_threads, n_ctx, n_streams, cacheType: "f16" },
    ...{ flashAttention: true, fused: true, repack: true },
  }, new Int32Array(new SharedArrayBuffer(4 * n_streams)));
}

/** Generates so many tokens of some answers at once; their times are those of one answer. */
export function tick(core: Core, answers: number, maxTokens: number): Answer {
  const times: number[] = [];
  const sent = performance.now();
  for (let id = 0; id < answers; id++) {
    core.submit({
      type: "submit",
      id,
      tokens: PROMPT_IDS,
      n_sampled: 0,
      maxTokens,
      endIds: [],
      sampling: samplingRecord({ temperature: 0 }),
      repeatLastN: 0,
      credit: maxTokens,
    });
  }
  core.admit();
  for (let sampled = core.tick(); sampled !== undefined; sampled = core.tick()) {
    for (const _ of sampled) times.push(performance.now() - sent);
  }
  return answerOf(PROMPT_TOKENS * answers, times);
}

/** Gives the speed of the fastest of several answers. */
export async function measureTicks(
  path: string,
  n_threads: number,
  maxTokens: number,
): Promise<TicksLine> {
  using core = await loadCore(path, n_threads, PROMPT_TOKENS + maxTokens, 1);
  const rates = Array.from({ length: PASSES }, () => decodeRate(tick(core, 1, maxTokens)));
  return { tokensPerSecond: Math.max(...rates) };
}

if (import.meta.main) {
  const [path = "", threads = "2", tokens = "32"] = process.argv.slice(2);
  const line = await measureTicks(path, Number(threads), Number(tokens));
  process.stdout.write(`${JSON.stringify(line)}\n`);
  process.exit();
}
