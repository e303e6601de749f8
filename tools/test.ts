/**
 * `bun run test`: the checks, every test file under Bun and under Deno, and one line of counts.
 *
 * Each file runs in a process of its own, so that a native crash fails that file alone and no
 * process grows with the suite. Counts come from JUnit reports; both runtimes must count the same.
 *
 * Arguments are parts of paths of test files; with any of them the checks are left out.
 *   --runtime=bun|deno   only this one
 *   --targets            the checks also compile the native library for every target
 *   --skips=FILE         a skipped test counts as failed, but for those that the file lists
 *
 * @module
 */
// deno-lint-ignore-file no-console -- what it prints is what it is for
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Check, CHECK_LIMIT_MS, listChecks } from "./check.ts";
import { type Outcome, parseReport, type TestCase } from "./junit.ts";
import { type Ended, runCommand } from "./process.ts";
import { type RuntimeName, runtimePath, RUNTIMES } from "./runtimes.ts";

/** Longest that one test file may take. */
const FILE_LIMIT_MS = 20 * 60_000;
/** Most that one test may take where it does not say; the shim for Deno has the same figure. */
const TEST_LIMIT_MS = 20_000;

/** A test or check that ended, with where it ran. */
export interface Result extends TestCase {
  /** `bun`, `deno` or `check`. */
  stage: RuntimeName | "check";
  /** Path of the test file, empty for a check. */
  file: string;
}

/** What ran in one process. */
interface Run {
  cases: TestCase[];
  ended: Ended;
}

/** Paths of all test files below `folder`, sorted. */
export async function findTests(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  return names.filter((name) => name.endsWith(".test.ts")).sort().map((name) => join(folder, name));
}

function testArguments(runtime: RuntimeName, file: string, report: string): string[] {
  if (runtime === "bun") {
    const limit = `--timeout=${TEST_LIMIT_MS}`;
    return ["test", limit, "--reporter=junit", `--reporter-outfile=${report}`, file];
  }
  const config = fileURLToPath(new URL("../deno.offline.json", import.meta.url));
  // Types are checked once, by the checks.
  return ["test", "-A", "--no-check", `--config=${config}`, `--junit-path=${report}`, file];
}

/** The results of one test file; what the report cannot tell, as a crash, becomes a failed case. */
function collect(ended: Ended, xml: string, runtime: RuntimeName): TestCase[] {
  const cases = parseReport(xml, runtime);
  const failed = cases.some(({ outcome }) => outcome === "failed");
  if (!ended.ok && !failed) cases.push({ name: `(ended with ${ended.how})`, outcome: "failed" });
  if (ended.ok && cases.length === 0) cases.push({ name: "(has no test)", outcome: "failed" });
  return cases;
}

/** Runs one test file under one runtime. */
export async function runFile(runtime: RuntimeName, file: string): Promise<Run> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-test-"));
  try {
    const report = join(folder, "report.xml");
    const path = file.startsWith("/") ? file : `./${file}`;
    const command = [await runtimePath(runtime), ...testArguments(runtime, path, report)];
    const ended = await runCommand(command, { limitMs: FILE_LIMIT_MS });
    // A process that crashed leaves no report.
    const xml = await readFile(report, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    });
    return { cases: collect(ended, xml, runtime), ended };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function runCheck({ name, command, env, skipped }: Check): Promise<Run> {
  if (skipped) {
    const ended = { ok: true, how: "nothing", output: "", seconds: 0 };
    return { cases: [{ name, outcome: "skipped" }], ended };
  }
  const ended = await runCommand(command, { limitMs: CHECK_LIMIT_MS, env });
  return { cases: [{ name, outcome: ended.ok ? "passed" : "failed" }], ended };
}

function count(cases: readonly TestCase[], wanted: Outcome): number {
  return cases.filter(({ outcome }) => outcome === wanted).length;
}

/** `N passed, N failed`, with the skipped ones where there are any. */
export function summary(cases: readonly TestCase[]): string {
  const skipped = count(cases, "skipped");
  return `${count(cases, "passed")} passed, ${count(cases, "failed")} failed` +
    (skipped === 0 ? "" : `, ${skipped} skipped`);
}

/** Prints one line for what has run, and what it printed where something failed. */
function report(stage: Result["stage"], file: string, { cases, ended }: Run): Result[] {
  const failed = count(cases, "failed") > 0;
  if (failed) console.log(ended.output);
  const what = file === "" ? cases.map(({ name }) => name).join() : file;
  const seconds = ended.seconds.toFixed(1).padStart(6);
  console.log(
    `${stage.padEnd(5)} ${seconds} s  ${failed ? "FAILED " : ""}${what}: ${summary(cases)}`,
  );
  return cases.map((testCase) => ({ ...testCase, stage, file }));
}

/** One failed case for each file whose tests one runtime counted otherwise than the other. */
export function compareRuntimes(results: readonly Result[]): Result[] {
  const differing: Result[] = [];
  for (const file of new Set(results.map((result) => result.file))) {
    const [bun, deno] = RUNTIMES.map((stage) =>
      results.filter((result) => result.stage === stage && result.file === file)
    );
    if (bun === undefined || deno === undefined) continue;
    const complete = count([...bun, ...deno], "failed") === 0;
    if (!complete || bun.length === 0 || deno.length === 0 || bun.length === deno.length) continue;
    const name = `(${bun.length} tests on Bun, ${deno.length} on Deno)`;
    differing.push({ stage: "deno", file, name, outcome: "failed" });
  }
  return differing;
}

/** Turns every skipped result into a failed one, but for those that a line of `listed` names. */
export function forbidSkips(results: readonly Result[], listed: string): Result[] {
  const names = listed.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => line.split(" | ")[0]?.trim());
  return results.map((result) =>
    result.outcome !== "skipped" || names.includes(result.name)
      ? result
      : { ...result, name: `${result.name} (skipped)`, outcome: "failed" as const }
  );
}

function printList(title: string, results: readonly Result[]): void {
  if (results.length > 0) console.log(`\n${title}:`);
  for (const { stage, file, name } of results) console.log(`  ${stage} ${file} ${name}`);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2),
    options: {
      runtime: { type: "string" },
      skips: { type: "string" },
      targets: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const runtimes = RUNTIMES.filter((name) => (values.runtime ?? name) === name);
  const all = await findTests("tests");
  const files = all.filter((file) =>
    positionals.length === 0 || positionals.some((part) => file.includes(part))
  );
  if (runtimes.length === 0 || files.length === 0) {
    throw new Error(`Cannot run the tests: no runtime or no file matches ${process.argv.slice(2)}`);
  }

  let results: Result[] = [];
  for (const check of positionals.length === 0 ? await listChecks(values.targets) : []) {
    results.push(...report("check", "", await runCheck(check)));
  }
  for (const runtime of runtimes) {
    for (const file of files) results.push(...report(runtime, file, await runFile(runtime, file)));
  }
  results.push(...compareRuntimes(results));
  if (values.skips !== undefined) {
    results = forbidSkips(results, await readFile(values.skips, "utf8"));
  }

  printList("Skipped", results.filter(({ outcome }) => outcome === "skipped"));
  printList("Failed", results.filter(({ outcome }) => outcome === "failed"));
  console.log(`\n${summary(results)}`);
  process.exitCode = count(results, "failed") === 0 ? 0 : 1;
}

if (import.meta.main) {
  process.chdir(fileURLToPath(new URL("..", import.meta.url)));
  await main();
}
