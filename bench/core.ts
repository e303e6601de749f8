/**
 * What the layers of sluice cost: tokens per second of the core's ticks, of `model.generate()`, and
 * of a client on loopback, all of one process, in turn.
 *
 * The server and its client compute too. With a processor left for them they cost what they delay a
 * token; where the ticks take every processor, also what they take away from those.
 *
 * @module
 */
import { join } from "node:path";
import { availableParallelism } from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";
import { resolveModel } from "../src/store/reference.ts";
import { type RuntimeName, RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { type Answer, type Ask, decodeRate, together } from "./contender.ts";
import { runtimeWords } from "./entrants.ts";
import { HttpContender } from "./http_contender.ts";
import { LineContender } from "./line_contender.ts";
import { choose, positive, runBench, showProgress, takeMachine } from "./options.ts";
import { prompt, PROMPT_TOKENS } from "./prompts.ts";
import { summarize, table } from "./report.ts";
import type { Sample } from "./rounds.ts";
import type { Figure } from "./scenarios.ts";

const HELP = `Usage: bun bench/core.ts [options]     or: deno run -A bench/core.ts [options]

  --rounds N         how often every layer is measured (10)
  --threads LIST     threads that compute, with commas (1, and as many as there are processors)
  --streams LIST     answers at once, with commas (1)
  --model REF        smollm2 or the path of a GGUF file (smollm2)
  --runtime LIST     runtimes that run sluice, with commas: bun,deno (both)
`;

const DECODE_TOKENS = 128;
/**
 * The ticks have a model of their own, and two loads of one file may differ in speed by a percent
 * or two for as long as they live; so a process plays only so many rounds.
 */
const PROCESS_ROUNDS = 4;

/** The layers, each divided by those below it. */
const LAYERS = {
  ticks: { name: "ticks of the core", rivals: [] },
  generate: { name: "model.generate()", rivals: ["ticks of the core"] },
  http: { name: "HTTP on loopback", rivals: ["model.generate()", "ticks of the core"] },
};

interface Setting {
  readonly model: string;
  readonly threads: number;
  readonly streams: number;
  readonly rounds: number;
  readonly figure: Figure;
}

/** Measures the layers of one runtime. */
async function measure(
  runtime: RuntimeName,
  setting: Setting,
  signal: AbortSignal,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let first = 0; first < setting.rounds && !signal.aborted; first += PROCESS_ROUNDS) {
    const end = Math.min(first + PROCESS_ROUNDS, setting.rounds);
    samples.push(...await measureProcess(runtime, setting, { first, end }, signal));
  }
  return samples;
}

/** Measures rounds `first` to `end`, exclusive, in a process of their own. */
async function measureProcess(
  runtime: RuntimeName,
  { model, threads, streams, figure }: Setting,
  { first, end }: { first: number; end: number },
  signal: AbortSignal,
): Promise<Sample[]> {
  const root = checkoutRoot();
  const words = await runtimeWords(runtime, root);
  const command = [...words, join("bench", "loop.ts"), model, String(threads), String(streams)];
  await using process = LineContender.start(`sluice, ${runtime}`, command, root);
  const { url } = await process.readLine<{ url: string }>();
  const client = new HttpContender(process.processes, url);
  const asks: [name: string, ask: (ask: Ask) => Promise<Answer[]>][] = [
    [LAYERS.ticks.name, (ask) => process.askOne(ask, "ticks")],
    [LAYERS.generate.name, (ask) => process.askOne(ask, "generate")],
    [LAYERS.http.name, (ask) => client.ask(ask)],
  ];
  const samples: Sample[] = [];
  let serial = 0;
  // The first round warms everything up and does not count.
  for (let round = first - 1; round < end && !signal.aborted; round++) {
    const counts = round >= first;
    showProgress(counts ? `${runtime}: round ${round + 1}` : `warming up ${runtime}`);
    for (const [entrant, ask] of asks) {
      const prompts = Array.from({ length: streams }, () => prompt(PROMPT_TOKENS, serial++));
      const value = decodeRate(together(await ask({ prompts, maxTokens: DECODE_TOKENS })));
      if (counts) samples.push({ figure, entrant, round, value });
    }
    // In turn, so that a clock that drifts within a round favours no layer.
    asks.push(asks.shift()!);
  }
  showProgress("");
  return samples;
}

async function bench(args: string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: "string", default: "10" },
      threads: { type: "string", default: `1,${availableParallelism()}` },
      streams: { type: "string", default: "1" },
      model: { type: "string", default: "smollm2" },
      runtime: { type: "string", default: RUNTIMES.join() },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const model = resolveModel(values.model).path;
  const rounds = positive("rounds", values.rounds);
  const numbers = (option: "threads" | "streams"): Set<number> =>
    new Set(values[option].split(",").map((count) => positive(option, count)));
  const settings = [...numbers("streams")].flatMap((streams) =>
    [...numbers("threads")].map((threads) => ({ model, streams, threads, rounds }))
  );
  using _ = await takeMachine(signal);
  for (const runtime of choose("runtime", values.runtime, RUNTIMES, (name) => name)) {
    for (const setting of settings) {
      if (signal.aborted) break;
      const { streams, threads } = setting;
      const what = streams === 1 ? "decode" : `${streams} streams`;
      const name = `${what}, ${runtime}, ${threads} of ${availableParallelism()} processors`;
      const figure: Figure = { name, unit: "tok/s", better: "more" };
      const samples = await measure(runtime, { ...setting, figure }, signal);
      process.stdout.write(`${table(summarize(samples, Object.values(LAYERS)))}\n\n`);
    }
  }
  return 0;
}

if (import.meta.main) await runBench(bench);
