/**
 * The overload: what a server can do is measured first, then it is asked for ten times as much; who
 * is refused, and how long the others wait for their first token. With the default model.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import {
  firstTokens,
  type Load,
  openLoad,
  quantile,
  sinceRefusal,
  steadyLoad,
} from "../tests/support/load.ts";
import { type RuntimeName, RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { runtimeWords } from "./entrants.ts";
import { choose, positive, runBench, showProgress, takeMachine } from "./options.ts";
import { ProcessGroup } from "./process_group.ts";

const HELP = `Usage: bun bench/overload.ts [options]     or: deno run -A bench/overload.ts [options]

  --seconds N        how long it is overloaded (120)
  --times N          by how much (10)
  --runtime LIST     runtimes that serve, with commas: bun,deno (both)
`;

/** What came of one run; times in milliseconds. */
export interface OverloadFigures {
  readonly usual: Load;
  readonly load: Load;
}

/** Sequences that the server runs at once. */
const PARALLEL = 4;
const TOKENS = 32;
/** Part of the time in which the capacity is measured, in no less than so many milliseconds. */
const USUAL_SHARE = 0.25;
const USUAL_MS_MIN = 5000;
/** Most that the first token may take under overload, by what it takes at capacity. */
const RATIO_MAX = 2;

const bodyOf = (n: number): unknown => ({
  prompt: `Story number ${n}: once upon a time there was`,
  max_tokens: TOKENS,
  ignore_eos: true,
});

/** The URL of a server of the command line, once it listens. */
async function urlOf(server: ProcessGroup): Promise<string> {
  for await (const line of createInterface({ input: server.output })) {
    const url = /^Listening on (\S+)/.exec(line)?.[1];
    if (url !== undefined) return url;
  }
  throw server.failure();
}

/** Measures one runtime. */
export async function measureOverload(
  runtime: RuntimeName,
  times: number,
  seconds: number,
): Promise<OverloadFigures> {
  const root = checkoutRoot();
  const words = await runtimeWords(runtime, root);
  const args = ["serve", "--port", "0", "--parallel", String(PARALLEL)];
  const command = [...words, join(root, "src", "cli.ts"), ...args];
  await using server = ProcessGroup.start(`the server on ${runtime}`, command, root);
  const url = await urlOf(server);
  server.output.resume();
  showProgress(`${runtime}: capacity`);
  await steadyLoad(url, PARALLEL, 1000, bodyOf);
  const usualMs = Math.max(USUAL_MS_MIN, seconds * 1000 * USUAL_SHARE);
  const usual = await steadyLoad(url, PARALLEL, usualMs, bodyOf);
  showProgress(`${runtime}: ${times} x ${usual.perSecond.toFixed(1)} requests a second`);
  const load = await openLoad(url, times * usual.perSecond, seconds * 1000, bodyOf);
  showProgress("");
  server.expectAlive();
  return { usual, load };
}

function ms(values: readonly number[], share: number): string {
  return `${quantile(values, share).toFixed(0)} ms`;
}

/** Prints the figures; true where they are as they should be. */
function report(runtime: RuntimeName, { usual, load }: OverloadFigures): boolean {
  const counts = new Map<number, number>();
  for (const { status } of load.asked) counts.set(status, (counts.get(status) ?? 0) + 1);
  const overloaded = sinceRefusal(load);
  const burst = { ...load, asked: load.asked.filter((a) => !overloaded.asked.includes(a)) };
  const lines = [["at capacity", usual], ["overloaded", overloaded], ["its first burst", burst]];
  process.stdout.write(`${runtime}: ${usual.perSecond.toFixed(1)} answers a second at capacity\n`);
  for (const [name, part] of lines as [string, Load][]) {
    const first = firstTokens(part);
    process.stdout.write(
      `  first token ${name}: median ${ms(first, 0.5)}, p99 ${ms(first, 0.99)}, ` +
        `${first.length} answers of ${part.asked.length} requests\n`,
    );
  }
  const told = [...counts].map(([status, count]) => `${status}: ${count}`).join(", ");
  const [a, b] = [firstTokens(usual), firstTokens(overloaded)];
  const ratios = [0.5, 0.99].map((share) => quantile(b, share) / quantile(a, share));
  process.stdout.write(`  statuses ${told}; ${load.perSecond.toFixed(1)} answers a second\n`);
  process.stdout.write(
    `  overloaded by capacity: median ${ratios[0]!.toFixed(2)} x, p99 ${ratios[1]!.toFixed(2)} x\n`,
  );
  const isTold = [...counts.keys()].every((status) => status === 200 || status === 429);
  return isTold && ratios.every((ratio) => ratio < RATIO_MAX);
}

async function main(args: string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      help: { type: "boolean", short: "h" },
      seconds: { type: "string", default: "120" },
      times: { type: "string", default: "10" },
      runtime: { type: "string", default: RUNTIMES.join(",") },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const seconds = positive("seconds", values.seconds);
  const times = positive("times", values.times);
  const runtimes = choose("runtime", values.runtime, RUNTIMES, (name) => name);
  using _machine = await takeMachine(signal);
  let isRight = true;
  for (const runtime of runtimes) {
    isRight = report(runtime, await measureOverload(runtime, times, seconds)) && isRight;
  }
  return isRight ? 0 : 1;
}

if (import.meta.main) await runBench(main);
