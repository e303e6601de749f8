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

/** The layers of one runtime, each divided by the one below it. */
const layers = (runtime: RuntimeName) => {
  const [ticks, generate] = [`${runtime}, ticks of the core`, `${runtime}, model.generate()`];
  return {
    ticks: { name: ticks, rivals: [] },
    generate: { name: generate, rivals: [ticks] },
    http: { name: `${runtime}, HTTP on loopback`, rivals: [generate] },
  };
};

/** Measures the layers of one runtime. */
async function measure(
  runtime: RuntimeName,
  { model, threads, rounds }: { model: string; threads: number; rounds: number },
  signal: AbortSignal,
): Promise<Sample[]> {
  const root = checkoutRoot();
  const words = await runtimeWords(runtime, root);
  const command = [...words, join("bench", "loop.ts"), model, String(threads)];
  await using process = LineContender.start(`sluice, ${runtime}`, command, root);
  const { url } = await process.readLine<{ url: string }>();
  const client = new HttpContender(process.processes, url);
  const asks: Record<keyof ReturnType<typeof layers>, (ask: Ask) => Promise<Answer[]>> = {
    ticks: (ask) => process.askOne(ask, "ticks"),
    generate: (ask) => process.askOne(ask, "generate"),
    http: (ask) => client.ask(ask),
  };
  const figure: Figure = { name: `decode, ${runtime}`, unit: "tok/s", better: "more" };
  const samples: Sample[] = [];
  let serial = 0;
  // The first round warms everything up and does not count.
  for (let round = -1; round < rounds && !signal.aborted; round++) {
    showProgress(round < 0 ? `warming up ${runtime}` : `${runtime}: round ${round + 1}`);
    for (const [layer, { name }] of Object.entries(layers(runtime))) {
      const ask = { prompts: [prompt(PROMPT_TOKENS, serial++)], maxTokens: DECODE_TOKENS };
      const [answer] = await asks[layer as keyof typeof asks](ask);
      if (round >= 0) samples.push({ figure, entrant: name, round, value: decodeRate(answer!) });
    }
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
