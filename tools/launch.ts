/**
 * What the scripts of package.json and the tasks of deno.json start: the set-up first, then the
 * program of that name with the arguments given, in place of this process where that can be.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { SetupError } from "../src/errors.ts";
import { cacheFolder } from "../src/store/cache.ts";
import { allSteps, checkoutRoot, runMain, setUp } from "./setup.ts";
import { ggml } from "./setup/ggml.ts";
import { denoConfig, jsr, standInNotice } from "./setup/jsr.ts";
import { defaultModel, model } from "./setup/model.ts";
import { native } from "./setup/native.ts";
import { packages } from "./setup/packages.ts";
import { runtimeName } from "./setup/platform.ts";
import type { Step } from "./setup/step.ts";
import { zig } from "./setup/zig.ts";

/** A program of this checkout. */
interface Program {
  /** Its file and its first arguments. */
  readonly entry: readonly [string, ...string[]];
  /** What it needs; steps that have no use on the runtime are left out. */
  readonly steps: readonly Step[];
}

/** The options that matter to the set-up; all others are the program's business. */
const ours = {
  model: { type: "string", short: "m" },
  help: { type: "boolean", short: "h" },
  offline: { type: "boolean" },
} as const;

const running = [model, packages, jsr, native];

const programs: Readonly<Record<string, Program>> = {
  serve: { entry: ["src/cli.ts", "serve"], steps: running },
  generate: { entry: ["src/cli.ts", "generate"], steps: running },
  keys: { entry: ["src/cli.ts", "keys"], steps: [packages, jsr] },
  test: { entry: ["tools/test.ts"], steps: allSteps },
  bench: { entry: ["bench/mod.ts"], steps: running },
  check: { entry: ["tools/check.ts"], steps: [packages, zig, ggml] },
  build: { entry: ["tools/build.ts"], steps: [zig, ggml] },
  audit: { entry: ["tools/audit.ts"], steps: [packages] },
};

/** What a launch comes to. */
export interface Launch {
  readonly entry: readonly string[];
  readonly args: readonly string[];
  readonly steps: readonly Step[];
  readonly offline: boolean;
}

/**
 * Reads a command line: a program's name and its arguments. `--offline` is ours and is taken out;
 * the user's own model and `--help` make the set-up shorter; the rest is the program's business.
 *
 * @throws {SetupError} when no program has that name
 */
export function planLaunch(argv: readonly string[], runtime: "bun" | "deno"): Launch {
  const [name = "", ...given] = argv;
  const program = Object.hasOwn(programs, name) ? programs[name] : undefined;
  if (program === undefined) {
    const names = Object.keys(programs).join(", ");
    throw new SetupError(`Cannot launch "${name}": expected one of ${names}`);
  }
  const { values, tokens } = parseArgs({ args: given, options: ours, strict: false, tokens: true });
  const ownModel = values.model !== undefined && values.model !== defaultModel;
  const steps = program.steps.filter((step) =>
    (step !== jsr || runtime === "deno") &&
    (step !== model || !ownModel) &&
    (step === packages || !values.help)
  );
  const offlineAt = tokens.filter((token) => token.kind === "option" && token.name === "offline")
    .map((token) => token.index);
  const args = given.filter((_, i) => !offlineAt.includes(i));
  return { entry: program.entry, args, steps, offline: values.offline === true };
}

async function main(): Promise<number> {
  const runtime = runtimeName();
  const { entry, args, steps, offline } = planLaunch(process.argv.slice(2), runtime);
  const [root, cache] = [checkoutRoot(), cacheFolder()];
  await setUp({ steps, offline, root, cache, output: process.stderr });
  const [file, ...words] = entry as [string, ...string[]];
  const flags = runtime === "deno" ? await denoFlags(root, steps.includes(jsr)) : [];
  return become([process.execPath, ...flags, join(root, file), ...words, ...args]);
}

/** Deno's own arguments. A program that needs @std/http hears when it gets the stand-in. */
async function denoFlags(root: string, needsStd: boolean): Promise<string[]> {
  const flags = ["run", "-A"];
  if (!needsStd) return flags;
  const config = await denoConfig({ root, deno: [process.execPath], ask: false });
  if (config === "deno.offline.json") process.stderr.write(`${standInNotice}\n`);
  return [...flags, "--config", join(root, config)];
}

/**
 * Becomes another program, or, where the runtime cannot, stays to hand it every signal.
 *
 * @returns its exit code
 */
function become(command: readonly string[]): Promise<number> {
  const [program, ...args] = command as [string, ...string[]];
  if (typeof process.execve === "function") process.execve(program, [...command], process.env);
  const child = spawn(program, args, { stdio: "inherit" });
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      // Not child.kill(): after that, Deno reports a clean end as the signal's.
      if (child.pid !== undefined && child.exitCode === null) process.kill(child.pid, name);
    });
  }
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on(
      "exit",
      (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? "SIGKILL"]),
    );
  });
}

if (import.meta.main) await runMain(main);
