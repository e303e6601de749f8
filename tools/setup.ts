/**
 * Brings everything that sluice needs onto a bare machine: Zig, the ggml sources, the default
 * model, the npm packages and the native library. Every script begins with it; when all is there
 * it prints nothing and opens no connection. Uses built-ins of both runtimes only.
 *
 * @module
 */
import { mkdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { SetupError } from "../src/errors.ts";
import { duration, size } from "../src/store/amounts.ts";
import { cacheFolder } from "../src/store/cache.ts";
import { ggml } from "./setup/ggml.ts";
import { forgetAnswers, jsr } from "./setup/jsr.ts";
import { takeLock } from "./setup/lock.ts";
import { defaultModel, model } from "./setup/model.ts";
import { native } from "./setup/native.ts";
import { packages } from "./setup/packages.ts";
import { checkFloors, runtimeName, thisMachine } from "./setup/platform.ts";
import { type Output, Progress } from "./setup/progress.ts";
import { checkRequirements } from "./setup/requirements.ts";
import type { Site, Step } from "./setup/step.ts";
import { zig, zigVersion } from "./setup/zig.ts";

const help = `Usage: bun run setup [options]     or: deno task setup [options]

Fetches and builds what sluice needs, once; later runs find it and end at once.

  --only STEPS   only these, with commas: zig, ggml, model, packages, library, jsr
  --no-model     leave out the default model (${defaultModel}), when you bring your own
  --offline      open no connection; fail when something is still to be fetched
  --jsr          ask JSR again whether it can be reached (Deno)
  --help         this text

  SLUICE_CACHE   the cache folder (now ${cacheFolder()})
  SLUICE_ZIG     a Zig ${zigVersion} to use
`;

/** For the estimate in the first line: a common network, and a build that was measured. */
const fetchBytesPerSecond = 1e7;
const buildCpuSeconds = 110;

/** Every step, in the order in which they are shown. */
export const allSteps: readonly Step[] = [zig, ggml, model, packages, jsr, native];

/** What to set up, and how. */
export interface SetupOptions {
  readonly steps: readonly Step[];
  readonly offline: boolean;
  readonly root: string;
  readonly cache: string;
  readonly output: Output;
}

/** The set-up was told to stop by a signal. */
export class Interrupted extends SetupError {
  override name = "Interrupted";
  /** What a shell expects of a program that a signal ended. */
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM" | "SIGHUP") {
    super(`The set-up was interrupted by ${signal}: run it again to go on`);
    this.exitCode = 128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal];
  }
}

/** The checkout that this file is in. */
export function checkoutRoot(): string {
  return fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
}

/**
 * Makes the steps ready, and whatever they need.
 *
 * @returns whether there was anything to do
 * @throws {SetupError} when something is missing or fails; {@link Interrupted} on a signal
 */
export async function setUp(options: SetupOptions): Promise<boolean> {
  checkFloors(thisMachine());
  const { root, cache, output } = options;
  const stopper = new AbortController();
  const temp = join(cache, "tmp", String(process.pid));
  const site: Site = { root, cache, temp, signal: stopper.signal };
  // Without a network Deno has the stand-in.
  const wanted = options.steps.filter((step) => !(options.offline && step === jsr));
  const pending = pendingSteps(site, wanted);
  if (pending.length === 0) return false;
  refuseOffline(options, pending);
  output.write(`${announcement(pending, cache)}\n`);
  const startedMs = Date.now();
  using _ = onSignals((signal) => stopper.abort(new Interrupted(signal)));
  await checkRequirements(site, pending);
  using _lock = await takeLock(cache, site.signal, (holder) => {
    output.write(`Another set-up is at work (${holder}): waiting for it to end\n`);
  });
  // Whatever lies there now was left by a set-up that did not end well.
  rmSync(join(cache, "tmp"), { recursive: true, force: true });
  mkdirSync(temp, { recursive: true });
  mkdirSync(join(cache, "logs"), { recursive: true });
  try {
    await runSteps(site, pendingSteps(site, wanted), output, stopper);
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
  output.write(`Set up in ${duration(Date.now() - startedMs)}\n`);
  return true;
}

/** The steps that are not ready, with what they come after, in the order of `allSteps`. */
export function pendingSteps(site: Site, wanted: readonly Step[]): Step[] {
  const pending = new Set<Step>();
  const visit = (step: Step): void => {
    if (pending.has(step) || step.ready(site)) return;
    pending.add(step);
    step.after.forEach(visit);
  };
  wanted.forEach(visit);
  return [...pending].sort((a, b) => allSteps.indexOf(a) - allSteps.indexOf(b));
}

/** Runs each step as soon as what it comes after is done; the first failure stops all. */
async function runSteps(
  site: Site,
  steps: readonly Step[],
  output: Output,
  stopper: AbortController,
): Promise<void> {
  using progress = new Progress(output);
  const bars = new Map(steps.map((step) => [step, progress.bar(step.name)]));
  const running = new Map<Step, Promise<void>>();
  const start = (step: Step): Promise<void> => {
    const bar = bars.get(step);
    if (bar === undefined) return Promise.resolve();
    const known = running.get(step);
    if (known !== undefined) return known;
    const promise = Promise.all(step.after.map(start))
      .then(() => step.run(site, bar))
      .then(() => bar.finish());
    running.set(step, promise);
    return promise;
  };
  const all = steps.map((step) => start(step).catch((error: unknown) => stopper.abort(error)));
  await Promise.all(all);
  stopper.signal.throwIfAborted();
}

function refuseOffline({ offline, cache }: SetupOptions, pending: readonly Step[]): void {
  const fetched = pending.filter((step) => step.fetchBytes > 0).map((step) => step.brings);
  if (!offline || fetched.length === 0) return;
  throw new SetupError(
    `Cannot set up sluice offline: ${fetched.join(", ")} would have to be fetched to ${cache}, ` +
      "run the set-up once with a network",
  );
}

/** One line: what is fetched and built, where to, how much that is, and how long it may take. */
function announcement(pending: readonly Step[], cache: string): string {
  const fetched = pending.filter((step) => step.fetchBytes > 0);
  const bytes = fetched.reduce((sum, step) => sum + step.fetchBytes, 0);
  const parts = [];
  if (fetched.length > 0) {
    parts.push(`fetching ${fetched.map((step) => step.brings).join(", ")} (${size(bytes)})`);
  }
  if (pending.includes(native)) parts.push(`building ${native.brings}`);
  const seconds = bytes / fetchBytesPerSecond +
    (pending.includes(native) ? 15 + buildCpuSeconds / availableParallelism() : 0);
  const time = `about ${Math.ceil(seconds / 60)} min`;
  return `Setting up sluice in ${cache}: ${[parts.join(", then "), time].join(", ")}`;
}

function onSignals(tell: (signal: "SIGINT" | "SIGTERM" | "SIGHUP") => void): Disposable {
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const listeners = names.map((name) => [name, () => tell(name)] as const);
  for (const [name, listener] of listeners) process.on(name, listener);
  return {
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) process.off(name, listener);
    },
  };
}

/**
 * Runs a program's main function; a failure of ours becomes one sentence and an exit code.
 *
 * @param main returns the exit code
 */
export async function runMain(main: () => Promise<number>): Promise<never> {
  try {
    process.exit(await main());
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(error instanceof Interrupted ? error.exitCode : 1);
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      "no-model": { type: "boolean", default: false },
      offline: { type: "boolean", default: false },
      jsr: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const cache = cacheFolder();
  if (values.jsr) forgetAnswers(cache);
  const steps = values.only === undefined ? defaultSteps() : namedSteps(values.only);
  await setUp({
    steps: values["no-model"] ? steps.filter((step) => step !== model) : steps,
    offline: values.offline,
    root: checkoutRoot(),
    cache,
    output: process.stderr,
  });
  return 0;
}

/** Every step that has a use on the runtime that runs. */
export function defaultSteps(): Step[] {
  return allSteps.filter((step) => step !== jsr || runtimeName() === "deno");
}

function namedSteps(names: string): Step[] {
  return names.split(",").map((name) => {
    const step = allSteps.find((candidate) => candidate.name === name.trim());
    if (step !== undefined) return step;
    const known = allSteps.map((candidate) => candidate.name).join(", ");
    throw new SetupError(`Cannot set up "${name}": expected one of ${known}`);
  });
}

if (import.meta.main) await runMain(main);
