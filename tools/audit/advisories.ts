/**
 * What is known against the packages of bun.lock, asked of the registry by the client of the lock.
 *
 * @module
 */
import { pathToFileURL } from "node:url";
import { runtimePath } from "../runtimes.ts";
import { runCommand } from "../process.ts";
import type { Finding } from "./pins.ts";

const LIMIT_MS = 60_000;

/** What a registry says of one weakness. */
interface Advisory {
  readonly title?: string;
  readonly severity?: string;
  readonly url?: string;
  readonly vulnerable_versions?: string;
}

const SUBJECT = "advisories";

function unknown(why: string): Finding {
  return { subject: SUBJECT, says: `cannot tell: ${why}`, faults: [], isUnknown: true };
}

/** The object that the client prints at the end; undefined where it prints none. */
function answerIn(output: string): Readonly<Record<string, readonly Advisory[]>> | undefined {
  const text = output.slice(Math.max(0, output.search(/^\s*\{/m)));
  try {
    const answer: unknown = JSON.parse(text);
    if (answer === null || typeof answer !== "object" || Array.isArray(answer)) return undefined;
    const isAnswer = Object.values(answer).every((list) => Array.isArray(list));
    return isAnswer ? answer as Record<string, readonly Advisory[]> : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function faultOf(name: string, advisory: Advisory): string {
  const { title = "no title", severity = "unknown", vulnerable_versions = "*", url } = advisory;
  return `${name} ${vulnerable_versions}: ${title} (${severity}${url ? `, ${url}` : ""})`;
}

/**
 * Asks; where the registry gives no answer that can be read, nothing is known.
 *
 * @param env set over the environment, such as another registry
 */
export async function checkAdvisories(
  root: string,
  env: Record<string, string> = {},
): Promise<Finding> {
  const command = [await runtimePath("bun"), "audit", "--json"];
  const cwd = pathToFileURL(`${root}/`);
  const { output, how } = await runCommand(command, { limitMs: LIMIT_MS, cwd, env });
  const answer = answerIn(output);
  if (answer === undefined) {
    const line = output.split("\n").findLast((each) => each.trim() !== "") ?? how;
    return unknown(`the registry was asked by "bun audit", which said "${line.trim()}"`);
  }
  const faults = Object.entries(answer)
    .flatMap(([name, list]) => list.map((advisory) => faultOf(name, advisory)));
  return { subject: SUBJECT, says: "the registry knows of none", faults };
}
