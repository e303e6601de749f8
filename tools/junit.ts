/**
 * Reads the JUnit reports of `bun test` and `deno test` into one list of test cases.
 *
 * @module
 */
import type { RuntimeName } from "./runtimes.ts";

/** How a test ended. */
export type Outcome = "passed" | "failed" | "skipped";

/** One test of a report. */
export interface TestCase {
  /** Name with the names of its groups, outermost first. */
  name: string;
  outcome: Outcome;
}

const ENTITIES: Record<string, string> = { amp: "&", apos: "'", gt: ">", lt: "<", quot: '"' };

function unescape(text: string): string {
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, entity) => {
    if (entity !== undefined) return ENTITIES[entity] ?? whole;
    return String.fromCodePoint(decimal === undefined ? parseInt(hex, 16) : Number(decimal));
  });
}

function attribute(tag: string, name: string): string {
  return unescape(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
}

function outcome(body: string): Outcome {
  if (/<(failure|error)\b/.test(body)) return "failed";
  return /<skipped\b/.test(body) ? "skipped" : "passed";
}

/** Bun gives the groups of a test innermost first. */
function bunName(tag: string): string {
  const groups = attribute(tag, "classname").split(" > ").reverse().filter((group) => group !== "");
  return [...groups, attribute(tag, "name")].join(" > ");
}

/** Bun lists hooks as tests without a name: one is kept only where it failed. */
function withoutHooks(cases: readonly TestCase[]): TestCase[] {
  return cases.filter(({ name, outcome }) =>
    outcome === "failed" || !/(^| > )\(unnamed\)$/.test(name)
  );
}

/** Deno lists groups as tests: one is kept only where it failed and none of its tests did. */
function withoutGroups(cases: readonly TestCase[]): TestCase[] {
  return cases.filter(({ name, outcome }) => {
    const inside = cases.filter((other) => other.name.startsWith(`${name} > `));
    if (inside.length === 0) return true;
    return outcome === "failed" && inside.every((other) => other.outcome !== "failed");
  });
}

/** The tests of one report, in its order. */
export function parseReport(xml: string, runtime: RuntimeName): TestCase[] {
  const cases: TestCase[] = [];
  for (const [, tag, body] of xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const name = runtime === "bun" ? bunName(tag ?? "") : attribute(tag ?? "", "name");
    cases.push({ name, outcome: outcome(body ?? "") });
  }
  return runtime === "bun" ? withoutHooks(cases) : withoutGroups(cases);
}
