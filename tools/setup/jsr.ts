/**
 * Which configuration Deno gets: `deno.json`, or `deno.offline.json` where JSR cannot be reached.
 * The answer is kept in the cache, so JSR is asked once and a later start opens no connection.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { cacheFolder } from "../../src/store/cache.ts";
import { succeeds } from "./command.ts";
import { packages } from "./packages.ts";
import type { Step } from "./step.ts";

/** The only module that imports from JSR; Deno fetches what it needs by looking at it. */
const importer = join("src", "server", "adapters", "deno.ts");
const askMs = 20_000;

/** The two configurations. */
export type DenoConfig = "deno.json" | "deno.offline.json";

/** One line for the user who gets the stand-in. */
export const standInNotice = "JSR cannot be reached, so @std/http is the stand-in in " +
  "tools/std_http (deno.offline.json); `deno task setup --jsr` asks again";

/** How to find the configuration. */
export interface DenoConfigOptions {
  readonly root: string;
  /** Words that start Deno. */
  readonly deno: readonly string[];
  /** Default: the cache folder of this user. */
  readonly cache?: string;
  /** Whether to ask JSR when it never was asked; without it, no answer is "no". Default: true. */
  readonly ask?: boolean;
  /** Ends the question; the answer is then not kept. */
  readonly signal?: AbortSignal;
}

/** Name of the configuration file to start Deno with. */
export async function denoConfig(options: DenoConfigOptions): Promise<DenoConfig> {
  const { root, deno, cache = cacheFolder(), signal = new AbortController().signal } = options;
  let reachable = knownAnswer(root, cache);
  if (reachable === undefined && options.ask !== false) {
    const look = [...deno, "cache", "--config", join(root, "deno.json"), join(root, importer)];
    reachable = await succeeds(look, signal, askMs);
    mkdirSync(cache, { recursive: true });
    const answers = { ...readAnswers(cache), [questionOf(root)]: reachable };
    writeFileSync(answersPath(cache), JSON.stringify(answers));
  }
  return reachable ? "deno.json" : "deno.offline.json";
}

/** Has Deno fetch @std/http, or finds that it cannot. For Deno alone: Bun has no use for it. */
export const jsr: Step = {
  name: "jsr",
  brings: "@std/http",
  fetchBytes: 100_000,
  diskBytes: 1_000_000,
  memoryBytes: 0,
  after: [packages],
  ready: ({ root, cache }) => knownAnswer(root, cache) !== undefined,
  missing: () => Promise.resolve([]),
  async run({ root, cache, signal }, bar) {
    bar.phase("asking JSR");
    await denoConfig({ root, cache, signal, deno: [process.execPath] });
  },
};

/** Forgets whether JSR could be reached, so that it is asked again. */
export function forgetAnswers(cache: string): void {
  rmSync(answersPath(cache), { force: true });
}

function knownAnswer(root: string, cache: string): boolean | undefined {
  return readAnswers(cache)[questionOf(root)];
}

const answersPath = (cache: string): string => join(cache, "jsr.json");

function readAnswers(cache: string): Record<string, boolean> {
  const path = answersPath(cache);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
}

/** What was asked: which package, and for which cache of Deno's own. */
function questionOf(root: string): string {
  const { imports } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as {
    imports?: Record<string, string>;
  };
  const folder = process.env.DENO_DIR ?? process.env.XDG_CACHE_HOME ?? homedir();
  return `${imports?.["@std/http"]} in ${folder}`;
}
