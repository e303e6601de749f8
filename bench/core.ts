/**
 * What the layers of sluice cost: tokens per second of the core's ticks, of `model.generate()`, and
 * of a client on loopback, all of one process, in turn.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { resolveModel } from "../src/store/reference.ts";
import { type RuntimeName, RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { type Answer, type Ask, decodeRate } from "./contender.ts";
import { runtimeWords } from "./entrants.ts";
import { HttpContender } from "./http_contender.ts";
import { LineContender } from "./line_contender.ts";
import { choose, positive, runBench, showProgress, takeMachine } from "./options.ts";
import { prompt } from "./prompts.ts";
import { summarize, table } from "./report.ts";
import type { Sample } from "./rounds.ts";
import type { Figure } from "./scenarios.ts";

const HELP = `Usage: bun bench/core.ts [options]     or: deno run -A bench/core.ts [options]

  --rounds N         how often every layer is measured (10)
  --threads N        threads that compute (2)
  --model REF        smollm2 or the path of a GGUF file (smollm2)
  --runtime LIST     runtimes that run sluice, with commas: bun,deno (both)
`;

const PROMPT_TOKENS = 16;
const DECODE_TOKENS = 128;
/**
 * The ticks have a model of their own, and two loads of one file may differ in speed by a percent
 * or two for as long as they live; so a process plays only so many rounds.
 */
const PROCESS_ROUNDS = 4;

/** The layers of one runtime, each divided by those below it. */
const layers = (runtime: RuntimeName) => {
  const [ticks, generate] = [`${runtime}, ticks of the core`, `${runtime}, model.generate()`];
  return {
    ticks: { name: ticks, rivals: [] },
    generate: { name: generate, rivals: [ticks] },
    http: { name: `${runtime}, HTTP on loopback`, rivals: [generate, ticks] },
  };
};

/** One object each, because samples of one figure are told by it. */
const DECODE: Record<RuntimeName, Figure> = {
  bun: { name: "decode, bun", unit: "tok/s", better: "more" },
  deno: { name: "decode, deno", unit: "tok/s", better: "more" },
};

interface Setting {
  readonly model: string;
  readonly threads: number;
  readonly rounds: number;
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
  { model, threads }: Setting,
  { first, end }: { first: number; end: number },
  signal: AbortSignal,
): Promise<Sample[]> {
  const root = checkoutRoot();
  const words = await runtimeWords(runtime, root);
  const command = [...words, join("bench", "loop.ts"), model, String(threads)];
  await using process = LineContender.start(`sluice, ${runtime}`, command, root);
  const { url } = await process.readLine<{ url: string }>();
  const client = new HttpContender(process.processes, url);
  const names = layers(runtime);
  const asks: [name: string, ask: (ask: Ask) => Promise<Answer[]>][] = [
    [names.ticks.name, (ask) => process.askOne(ask, "ticks")],
    [names.generate.name, (ask) => process.askOne(ask, "generate")],
    [names.http.name, (ask) => client.ask(ask)],
  ];
  const samples: Sample[] = [];
  let serial = 0;
  // The first round warms everything up and does not count.
  for (let round = first - 1; round < end && !signal.aborted; round++) {
    const counts = round >= first;
    showProgress(counts ? `${runtime}: round ${round + 1}` : `warming up ${runtime}`);
    for (const [entrant, ask] of asks) {
      const what = { prompts: [prompt(PROMPT_TOKENS, serial++)], maxTokens: DECODE_TOKENS };
      const [answer] = await ask(what);
      const value = decodeRate(answer!);
      if (counts) samples.push({ figure: DECODE[runtime], entrant, round, value });
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
      threads: { type: "string", default: "2" },
      model: { type: "string", default: "smollm2" },
      runtime: { type: "string", default: RUNTIMES.join() },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const setting = {
    model: resolveModel(values.model).path,
    threads: positive("threads", values.threads),
    rounds: positive("rounds", values.rounds),
  };
  using _ = await takeMachine(signal);
  for (const runtime of choose("runtime", values.runtime, RUNTIMES, (name) => name)) {
    if (signal.aborted) break;
    const samples = await measure(runtime, setting, signal);
    process.stdout.write(`${table(summarize(samples, Object.values(layers(runtime))))}\n\n`);
  }
  return 0;
}

if (import.meta.main) await runBench(bench);
