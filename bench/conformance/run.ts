/**
 * The conformance kit: which rules of streaming a server keeps, whoever made it, as a score.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { SluiceError } from "../../src/errors.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { RUNTIMES } from "../../tools/runtimes.ts";
import { checkoutRoot } from "../../tools/setup.ts";
import { choose, runBench, showProgress, UsageError } from "../options.ts";
import { type Check, type Finding, findings, score } from "./check.ts";
import { type Exam, MARKS, remarks, table } from "./comparison.ts";
import { CHAT, Probe } from "./probe.ts";
import { pingCheck, SERVER_CHECKS } from "./server_checks.ts";
import { STREAM_CHECKS } from "./stream_checks.ts";
import { HTTP_PEERS, peerSubject, sluiceSubject, type Subject } from "./subjects.ts";
import { WIRE_CHECKS } from "./wire_checks.ts";

const HELP = `Usage: bun bench/conformance/run.ts [URL] [options]     or: deno run -A ...

With a URL the server there is examined:

  --name NAME        how it is called in the print (its URL)
  --key KEY          its API key (none)
  --silent PROMPT    a prompt at which the server is silent for longer than the time between two of
                     its pings; without it the rule on pings is not tried

Without one, sluice and its peers are started with the same model, examined one after the other,
and printed side by side:

  --runtime LIST     runtimes that run sluice, with commas: bun,deno (both)
  --peers LIST       who else: llama, or "" for nobody (llama)
  --model REF        smollm2 or the path of a GGUF file (smollm2)

  --json             one JSON object instead of lines

Exit code 0 where every rule holds, for the server at the URL or for sluice; 1 otherwise. What a
server does not have counts as failed.
`;

const OPTIONS = {
  name: { type: "string" },
  key: { type: "string" },
  silent: { type: "string" },
  runtime: { type: "string", default: RUNTIMES.join() },
  peers: { type: "string", default: HTTP_PEERS.map(({ key }) => key).join() },
  model: { type: "string", default: "smollm2" },
  json: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"];

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

const print = (text: string): boolean => process.stdout.write(text);

/** Examines the server at a URL and prints each finding as it comes. */
async function examineOne(url: string, values: Values): Promise<number> {
  const all: Finding[] = [];
  for await (const finding of examine(url, { key: values.key, silentPrompt: values.silent })) {
    all.push(finding);
    const { name, outcome, seen } = finding;
    if (values.json) continue;
    print(`${MARKS[outcome].padEnd(MARKS.missing.length)}  ${name}${seen && `: ${seen}`}\n`);
  }
  const { held, of } = score(all);
  const name = values.name ?? url;
  print(
    values.json
      ? `${JSON.stringify({ name, held, of, findings: all })}\n`
      : `\n${name}: ${held} of ${of}\n`,
  );
  return held === of ? 0 : 1;
}

/** Those that are to be compared; a peer that cannot be made is left out. */
async function listSubjects(values: Values, signal: AbortSignal): Promise<Subject[]> {
  const root = checkoutRoot();
  const model = resolveModel(values.model).path;
  const subjects = choose("runtime", values.runtime, RUNTIMES, (name) => name)
    .map((runtime) => sluiceSubject(runtime, model, root));
  for (const peer of choose("peers", values.peers, HTTP_PEERS, ({ key }) => key)) {
    try {
      subjects.push(await peerSubject(peer, model, root, signal));
    } catch (error) {
      if (!(error instanceof SluiceError) || signal.aborted) throw error;
      process.stderr.write(`Left out ${peer.name}: ${error.message}\n`);
    }
  }
  if (subjects.length > 0) return subjects;
  throw new UsageError("Cannot examine anybody: name a URL, a runtime or a peer");
}

/** Examines one server after the other and prints them side by side. */
async function compare(values: Values, signal: AbortSignal): Promise<number> {
  const exams: Exam[] = [];
  let isWell = true;
  for (const { name, isPeer, start } of await listSubjects(values, signal)) {
    if (signal.aborted) return 1;
    showProgress(`examining ${name}`);
    await using server = await start();
    const found = await Array.fromAsync(examine(server.url));
    exams.push({ name, findings: found });
    isWell &&= isPeer || score(found).held === found.length;
  }
  showProgress("");
  const all = exams.map((exam) => ({ ...exam, ...score(exam.findings) }));
  const open = remarks(exams);
  print(values.json ? `${JSON.stringify(all)}\n` : `${table(exams)}\n${open && `\n${open}\n`}`);
  return isWell ? 0 : 1;
}

async function main(args: string[], signal: AbortSignal): Promise<number> {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: OPTIONS });
  if (values.help) {
    print(HELP);
    return 0;
  }
  const [url, ...more] = positionals;
  if (more.length > 0) {
    throw new UsageError(`Cannot examine ${positionals.length} servers: expected one URL, or none`);
  }
  return url === undefined ? await compare(values, signal) : await examineOne(url, values);
}

if (import.meta.main) await runBench(main);
