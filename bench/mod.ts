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
import { readGguf } from "../src/gguf/reader.ts";
import { RUNTIMES } from "../tools/runtimes.ts";
import { checkoutRoot } from "../tools/setup.ts";
import { fileHash } from "../tools/setup/hash.ts";
import type { Entrant } from "./contender.ts";
import { type Field, listEntrants } from "./entrants.ts";
import { type BenchModel, modelNames, prepareModel } from "./models.ts";
import { choose, positive, runBench, showProgress, takeMachine, UsageError } from "./options.ts";
import { peers } from "./peers.ts";
import { plot } from "./plot.ts";
import { overview, type Row, summarize, table } from "./report.ts";
import { measureRoofline, prepareRoofline } from "./roofline.ts";
import { playRounds, type Sample } from "./rounds.ts";
import { listScenarios, roomFor, type Scenario } from "./scenarios.ts";
import { MACHINE, rooflineSamples, shareSamples } from "./shares.ts";
import { type Work, workOf } from "./work.ts";
import type { Workshop } from "./workshop.ts";

const HELP = `Usage: bun run bench [options]     or: deno task bench [options]

Measures sluice beside its peers; fetches and builds them first where they are missing.

  --rounds N         how often everybody plays every scenario (5)
  --threads N        threads that compute (2)
  --model LIST       models, with commas: ${modelNames.join(", ")}, or paths of
                     GGUF files (${modelNames[0]})
  --only LIST        scenarios, with commas (those with a star):
                     ${scenarioNames()}
  --all              every scenario
  --peers LIST       peers to compare with, with commas: llama,openvino (both)
  --runtime LIST     runtimes that run sluice, with commas: bun,deno (both)
  --json FILE        write all samples there too
  --plot FILE        draw the speeds there, as SVG

  SLUICE_BENCH_LLAMA   a llama-server to use instead of our own build
`;

/** What was asked for on the command line. */
interface Options {
  readonly rounds: number;
  readonly threads: number;
  readonly models: readonly string[];
  readonly scenarios: readonly Scenario[];
  readonly peers: typeof peers;
  readonly runtimes: typeof RUNTIMES;
  readonly json: string | undefined;
  readonly plot: string | undefined;
}

/** What was measured with one model. */
interface Part {
  readonly model: string;
  readonly file: string;
  readonly sha256: string;
  readonly work: Work;
  readonly sequences: number;
  readonly contextTokens: number;
  readonly contenders: readonly Pick<Entrant, "name" | "version" | "threads" | "rivals">[];
  readonly left: readonly { readonly name: string; readonly why: string }[];
  readonly rows: readonly Row[];
  readonly samples: readonly Sample[];
}

function scenarioNames(): string {
  const names = listScenarios().map(({ name, isDefault }) => name + (isDefault ? "*" : ""));
  return names.join(", ").replace(/(.{50,70},) /g, `$1\n${" ".repeat(21)}`);
}

/** The options; undefined when only their explanation was asked for. */
function readOptions(args: string[]): Options | undefined {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: "string", default: "5" },
      threads: { type: "string", default: "2" },
      model: { type: "string", multiple: true, default: [modelNames[0]!] },
      only: { type: "string", multiple: true },
      all: { type: "boolean", default: false },
      peers: { type: "string", default: peers.map(({ key }) => key).join() },
      runtime: { type: "string", default: RUNTIMES.join() },
      json: { type: "string" },
      plot: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const scenarios = chooseScenarios(values.only, values.all);
  if (scenarios.length === 0) throw new UsageError("Cannot measure: no scenario was chosen");
  return {
    rounds: positive("rounds", values.rounds),
    threads: positive("threads", values.threads),
    models: values.model.join().split(",").filter((name) => name !== ""),
    scenarios,
    peers: choose("peers", values.peers, peers, ({ key }) => key),
    runtimes: choose("runtime", values.runtime, RUNTIMES, (name) => name),
    json: values.json,
    plot: values.plot,
  };
}

function chooseScenarios(only: readonly string[] | undefined, all: boolean): Scenario[] {
  const scenarios = listScenarios();
  if (only === undefined) return scenarios.filter(({ isDefault }) => all || isDefault);
  const names = only.join().split(",")
    .map((name) => scenarios.find(({ alias }) => alias === name)?.name ?? name);
  return choose("only", names.join(), scenarios, ({ name }) => name);
}

/** Measures and prints; returns the exit code. */
async function bench(args: string[], signal: AbortSignal): Promise<number> {
  const options = readOptions(args);
  if (options === undefined) {
    process.stdout.write(HELP);
    return 0;
  }
  const workshop: Workshop = { root: checkoutRoot(), output: process.stderr, signal };
  const models: BenchModel[] = [];
  for (const name of options.models) models.push(await prepareModel(name, workshop));
  const beforeRound = await rooflineOf(options.threads, workshop);
  const facts = {
    cpu: cpus()[0]?.model ?? "unknown",
    processors: availableParallelism(),
    load: loadavg()[0] ?? 0,
    ...{ threads: options.threads, rounds: options.rounds },
  };
  const noise = facts.load > 0.5 ? `, load ${facts.load.toFixed(1)} before: expect noise` : "";
  const heading = `${facts.cpu}, ${facts.processors} processors`;
  process.stdout.write(`CPU: ${heading}${noise}\n`);
  const parts: Part[] = [];
  for (const model of models) {
    if (signal.aborted) break;
    const part = await measure(model, options, workshop, beforeRound);
    process.stdout.write(`\n${describe(part, options)}\n`);
    parts.push(part);
  }
  if (options.json !== undefined) {
    const all = { date: new Date().toISOString(), ...facts, models: parts };
    writeFileSync(options.json, `${JSON.stringify(all, undefined, 2)}\n`);
  }
  if (options.plot !== undefined) {
    const shown = parts.map(({ model, file, rows }) => ({ title: `${model}: ${file}`, rows }));
    writeFileSync(options.plot, plot(`${heading}, ${options.threads} threads`, shown));
  }
  return parts.some(({ left }) => left.some(({ name }) => name.startsWith("sluice"))) ? 1 : 0;
}

type BeforeRound = (round: number) => Promise<Sample[]>;

/** What measures the machine in each round. */
async function rooflineOf(threads: number, workshop: Workshop): Promise<BeforeRound> {
  const { signal } = workshop;
  const program = await prepareRoofline(workshop);
  return async (round) => {
    try {
      return rooflineSamples(await measureRoofline(program, threads, signal), round);
    } catch (error) {
      if (signal.aborted) return [];
      throw error;
    }
  };
}

/** Plays all rounds with one model. */
async function measure(
  { name, path }: BenchModel,
  options: Options,
  workshop: Workshop,
  beforeRound: BeforeRound,
): Promise<Part> {
  const { threads, runtimes, scenarios, rounds } = options;
  const left: { name: string; why: string }[] = [];
  const leaveOut = (name: string, why: string): void => {
    left.push({ name, why });
    showProgress("");
    process.stderr.write(`Left out ${name}: ${why}\n`);
  };
  const room = roomFor(scenarios);
  const oneThread = scenarios.some((scenario) => scenario.oneThread);
  const field: Field = { model: path, threads, runtimes, peers: options.peers, oneThread, ...room };
  const entrants = await listEntrants(field, workshop, leaveOut);
  if (entrants.length === 0) throw new UsageError("Cannot measure: nobody takes part");
  using _ = await takeMachine(workshop.signal);
  const plan = { entrants, scenarios, rounds, threads, signal: workshop.signal, leaveOut };
  const played = await playRounds({ ...plan, beforeRound, progress: showProgress });
  showProgress("");
  const work = workOf(readGguf(path));
  const shares = shareSamples(played, scenarios, work, room.sequences * room.tokens);
  const samples = [...played, ...shares];
  return {
    model: name,
    file: basename(path),
    sha256: await fileHash(path),
    work,
    sequences: room.sequences,
    contextTokens: room.tokens,
    contenders: entrants.map(({ name, version, threads, rivals }) => {
      return { name, version, threads, rivals };
    }),
    left,
    rows: summarize(samples, [...entrants, { name: MACHINE, rivals: [] }]),
    samples,
  };
}

/** A part for a terminal: what ran, every figure with its range, and one table. */
function describe(part: Part, { threads, rounds }: Options): string {
  const { model, file, sha256, sequences, contextTokens, contenders, rows, work } = part;
  const shown = [...contenders, { name: MACHINE, rivals: [] }]
    .filter(({ name }) => rows.some(({ entrant }) => entrant === name));
  const megabytes = (work.weightBytes / 1e6).toFixed(1);
  return [
    `model ${model}: ${file}, sha256 ${sha256}`,
    `${megabytes} MB of weights and ${work.cacheBytes} bytes of cache a token, ` +
    `${(work.linearOps / 1e9).toFixed(3)} GOP of linear layers a token`,
    `${threads} threads, ${sequences} sequences of ${contextTokens} tokens, ${rounds} rounds`,
    ...contenders.map(({ name, version }) => `${name}: ${version}`),
    "",
    ...(rows.length === 0 ? ["Nothing was measured."] : [table(rows), "", overview(rows, shown)]),
  ].join("\n");
}

if (import.meta.main) await runBench(bench);
