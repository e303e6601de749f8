/**
 * `bun run check`: all that can be said of the sources without running the tests, as one list.
 *
 *   --targets   also compile the native library for every target, and test its kernels on the
 *               processors that qemu plays; minutes for each
 *
 * @module
 */
// deno-lint-ignore-file no-console -- what it prints is what it is for
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import process from "node:process";
import { cacheFolder } from "../src/store/cache.ts";
import { runCommand } from "./process.ts";
import { runtimePath } from "./runtimes.ts";
import { onPath } from "./setup/command.ts";
import { findZig, zigBuild } from "./setup/zig.ts";

/** One command that must end well. */
export interface Check {
  name: string;
  command: readonly string[];
  env?: Record<string, string>;
  /** It cannot run here; its name says what it needs. */
  skipped?: boolean;
}

/** Longest that one check may take; the native library is compiled for every target. */
export const CHECK_LIMIT_MS = 40 * 60_000;

const root = new URL("..", import.meta.url);

/**
 * The checks, quickest first. Throws a SetupError where Zig is missing.
 *
 * @param targets also whether the native library compiles for every target
 */
export async function listChecks(targets: boolean): Promise<Check[]> {
  const deno = await runtimePath("deno");
  const offline = "--config=deno.offline.json";
  const { exports } = JSON.parse(await readFile(new URL("deno.json", root), "utf8"));
  const entries = Object.values<string>(exports);
  const site = { root: fileURLToPath(root), cache: cacheFolder() };
  const zig = (name: string, ...args: string[]): Check => ({ name, ...zigBuild(site, args) });
  return [
    { name: "deno fmt", command: [deno, "fmt", "--check"] },
    { name: "deno lint", command: [deno, "lint"] },
    {
      name: "zig fmt",
      command: [findZig(site) ?? "zig", "fmt", "--check", "--exclude", "kernels/ggml"]
        .concat("build.zig", "kernels"),
    },
    { name: "tsc", command: ["node_modules/.bin/tsc", "-p", "."] },
    { name: "deno check", command: [deno, "check", offline] },
    { name: "deno doc --lint", command: [deno, "doc", "-q", "--lint", offline, ...entries] },
    {
      name: "deno publish --dry-run",
      command: [deno, "publish", "--dry-run", "--allow-dirty", offline],
    },
    zig("zig build test", "test"),
    zig("zig build symbols-check", "symbols-check"),
    ...(targets ? [zig("zig build check", "check"), emulated(zig)] : []),
  ];
}

/** The kernels' tests on another processor than this one. */
function emulated(zig: (name: string, ...args: string[]) => Check): Check {
  const programs = ["qemu-aarch64-static", "qemu-aarch64"];
  const check = zig("zig build test-aarch64", "test-aarch64");
  const runs = programs.some(onPath) && existsSync("/usr/aarch64-linux-gnu/lib/libc.so.6");
  if (runs) return check;
  const needs = "needs qemu-user-static and libc6-arm64-cross";
  return { ...check, name: `${check.name} (${needs})`, skipped: true };
}

async function main(): Promise<void> {
  for (const check of await listChecks(process.argv.includes("--targets"))) {
    const { name, command, env } = check;
    if (check.skipped) {
      console.log(`skipped ${" ".repeat(8)} ${name}`);
      continue;
    }
    const ended = await runCommand(command, { limitMs: CHECK_LIMIT_MS, cwd: root, env });
    const seconds = ended.seconds.toFixed(1).padStart(6);
    console.log(`${ended.ok ? "ok    " : "FAILED"} ${seconds} s  ${name}`);
    if (ended.ok) continue;
    console.log(`${ended.output}\n(ended with ${ended.how})`);
    process.exitCode = 1;
  }
}

if (import.meta.main) await main();
