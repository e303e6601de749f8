/**
 * The conformance kit: which rules of streaming a server keeps, whoever made it, as a score.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { runBench, UsageError } from "../options.ts";
import { type Check, type Finding, findings, score } from "./check.ts";
import { CHAT, Probe } from "./probe.ts";
import { pingCheck, SERVER_CHECKS } from "./server_checks.ts";
import { STREAM_CHECKS } from "./stream_checks.ts";
import { WIRE_CHECKS } from "./wire_checks.ts";

const HELP = `Usage: bun bench/conformance/run.ts URL [options]     or: deno run -A ...

  --name NAME        how the server is called in the print (its URL)
  --key KEY          API key of the server (none)
  --silent PROMPT    a prompt at which the server is silent for longer than the time between two of
                     its pings; without it the rule on pings is not tried
  --json             one JSON object instead of lines

Exit code 0 where every rule holds, 1 otherwise. What a server does not have counts as failed.
`;

const MARKS = { held: "ok     ", failed: "FAILED ", missing: "missing" } as const;

/** All rules, in the order of the print. */
export const CHECKS: readonly Check[] = [...WIRE_CHECKS, ...STREAM_CHECKS, ...SERVER_CHECKS];

/** How to look at a server. */
export interface KitOptions {
  /** API key. */
  readonly key?: string | undefined;
  /** See `pingCheck`; without it that rule is not tried. */
  readonly silentPrompt?: string | undefined;
}

/** Tries every rule on the server at a URL. */
export function examine(
  url: string,
  { key, silentPrompt }: KitOptions = {},
): AsyncGenerator<Finding, void, undefined> {
  const checks = silentPrompt === undefined ? CHECKS : [...CHECKS, pingCheck(silentPrompt)];
  return findings(new Probe(url, key), checks, CHAT);
}

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      name: { type: "string" },
      key: { type: "string" },
      silent: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const [url, ...more] = positionals;
  if (url === undefined || more.length > 0) {
    throw new UsageError(`Cannot examine ${positionals.length} servers: expected one URL`);
  }
  const all: Finding[] = [];
  for await (const finding of examine(url, { key: values.key, silentPrompt: values.silent })) {
    all.push(finding);
    const { name, outcome, seen } = finding;
    if (values.json) continue;
    process.stdout.write(`${MARKS[outcome]}  ${name}${seen === "" ? "" : `: ${seen}`}\n`);
  }
  const { held, of } = score(all);
  const name = values.name ?? url;
  process.stdout.write(
    values.json
      ? `${JSON.stringify({ name, held, of, findings: all })}\n`
      : `\n${name}: ${held} of ${of}\n`,
  );
  return held === of ? 0 : 1;
}

if (import.meta.main) await runBench(main);
