/**
 * `bun run bench`: sluice on Bun and Deno against llama-server and OpenVINO GenAI, in one run.
 * See README.md beside it for the scenarios.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg } from "node:os";
import { basename } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { resolveModel } from "../src/store/reference.ts";
import { RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { fileHash } from "../tools/setup/hash.ts";
import type { Entrant } from "./contender.ts";
import { CONTEXT_TOKENS, listEntrants, SEQUENCES } from "./entrants.ts";
import { choose, positive, runBench, showProgress, takeMachine, UsageError } from "./options.ts";
import { peers } from "./peers.ts";
import { summarize, table } from "./report.ts";
import { playRounds } from "./rounds.ts";
import { listScenarios, type Scenario } from "./scenarios.ts";

const HELP = `Usage: bun run bench [options]     or: deno task bench [options]

Measures sluice beside its peers; fetches and builds them first where they are missing.

  --rounds N         how often everybody plays every scenario (5)
  --threads N        threads that compute (2)
  --model REF        smollm2 or the path of a GGUF file (smollm2)
  --only SCENARIO    ${
  listScenarios().map(({ name }) => name).join(", ")
}; may be given several times
  --peers LIST       peers to compare with, with commas: llama,openvino (both)
  --runtime LIST     runtimes that run sluice, with commas: bun,deno (both)
  --json FILE        write all samples there too

  SLUICE_BENCH_LLAMA   a llama-server to use instead of our own build
`;

/** What was asked for on the command line. */
interface Options {
  readonly rounds: number;
  readonly threads: number;
  readonly model: string;
  readonly scenarios: readonly Scenario[];
  readonly peers: typeof peers;
  readonly runtimes: typeof RUNTIMES;
  readonly json: string | undefined;
}

/** The options; undefined when only their explanation was asked for. */
function readOptions(args: string[]): Options | undefined {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: "string", default: "5" },
      threads: { type: "string", default: "2" },
      model: { type: "string", default: "smollm2" },
      only: { type: "string", multiple: true },
      peers: { type: "string", default: peers.map(({ key }) => key).join() },
      runtime: { type: "string", default: RUNTIMES.join() },
      json: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const scenarios = listScenarios();
  return {
    rounds: positive("rounds", values.rounds),
    threads: positive("threads", values.threads),
    scenarios: values.only === undefined
      ? scenarios
      : choose("only", values.only.join(), scenarios, ({ name }) => name),
    peers: choose("peers", values.peers, peers, ({ key }) => key),
    runtimes: choose("runtime", values.runtime, RUNTIMES, (name) => name),
    json: values.json,
    model: resolveModel(values.model).path,
  };
}

/** Measures and prints; returns the exit code. */
async function bench(args: string[], signal: AbortSignal): Promise<number> {
  const options = readOptions(args);
  if (options === undefined) {
    process.stdout.write(HELP);
    return 0;
  }
  const { model, threads, rounds, runtimes, scenarios, json } = options;
  const left: { name: string; why: string }[] = [];
  const leaveOut = (name: string, why: string): void => {
    left.push({ name, why });
    showProgress("");
    process.stderr.write(`Left out ${name}: ${why}\n`);
  };
  const entrants = await listEntrants(
    {
      ...{ model, threads, runtimes, peers: options.peers },
      oneThread: scenarios.some((scenario) => scenario.oneThread),
    },
    { root: checkoutRoot(), output: process.stderr, signal },
    leaveOut,
  );
  if (entrants.length === 0) throw new UsageError("Cannot measure: nobody takes part");
  using _ = await takeMachine(signal);
  const facts = {
    cpu: cpus()[0]?.model ?? "unknown",
    processors: availableParallelism(),
    load: loadavg()[0] ?? 0,
    ...{ model: basename(model), sha256: await fileHash(model), threads, rounds },
    ...{ sequences: SEQUENCES, contextTokens: CONTEXT_TOKENS },
  };
  const progress = showProgress;
  const plan = { entrants, scenarios, rounds, threads, signal, progress, leaveOut };
  const samples = await playRounds(plan);
  progress("");
  const rows = summarize(samples, entrants);
  process.stdout.write(`${heading(facts, entrants)}\n\n${table(rows)}\n`);
  if (json !== undefined) {
    const contenders = entrants.map(({ name, version, threads }) => ({ name, version, threads }));
    const all = { date: new Date().toISOString(), ...facts, contenders, left, rows, samples };
    writeFileSync(json, `${JSON.stringify(all, undefined, 2)}\n`);
  }
  return left.some(({ name }) => name.startsWith("sluice")) ? 1 : 0;
}

function heading(facts: Record<string, string | number>, entrants: readonly Entrant[]): string {
  const { cpu, processors, load, model, sha256, threads, rounds } = facts;
  const noise = Number(load) > 0.5 ? `, load ${Number(load).toFixed(1)} before: expect noise` : "";
  return [
    `CPU: ${cpu}, ${processors} processors${noise}`,
    `model: ${model}, sha256 ${sha256}`,
    `${threads} threads, ${SEQUENCES} sequences of ${CONTEXT_TOKENS} tokens, ${rounds} rounds`,
    ...entrants.map(({ name, version }) => `${name}: ${version}`),
  ].join("\n");
}

if (import.meta.main) await runBench(bench);
