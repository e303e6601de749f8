/**
 * Check: one rule of the kit, and how a set of them is run against a server and scored.
 *
 * @module
 */
import { MissingError, type Probe, type Route, UnmetError } from "./probe.ts";

/** One rule; its name reads after the name of a route: `chat sends [DONE] once, last`. */
export interface Check {
  readonly name: string;
  /** Where it is run; none for what a server does whatever the route. */
  readonly routes: readonly Route[];
  /** @throws UnmetError where it does not hold */
  run(probe: Probe, route: Route): Promise<void>;
}

/** What became of one rule on one route. */
export interface Finding {
  /** Route and rule. */
  readonly name: string;
  /** Missing counts as failed. */
  readonly outcome: "held" | "failed" | "missing";
  /** What was seen where it does not hold; else "". */
  readonly seen: string;
}

async function find(name: string, run: () => Promise<void>): Promise<Finding> {
  try {
    await run();
    return { name, outcome: "held", seen: "" };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const outcome = error instanceof MissingError ? "missing" : "failed";
    // A server that cuts a connection fails the rule; a fault of the kit must not look like that.
    const isSeen = error instanceof UnmetError || error.name === "TimeoutError" ||
      error instanceof TypeError || "code" in error;
    if (!isSeen) throw error;
    return { name, outcome, seen: error.message };
  }
}

/** Runs the rules one after the other. */
export async function* findings(
  probe: Probe,
  checks: readonly Check[],
  anyRoute: Route,
): AsyncGenerator<Finding, void, undefined> {
  for (const { name, routes, run } of checks) {
    if (routes.length === 0) yield await find(`server ${name}`, () => run(probe, anyRoute));
    for (const route of routes) yield await find(`${route.name} ${name}`, () => run(probe, route));
  }
}

/** How many rules held, of how many. */
export function score(all: readonly Finding[]): { held: number; of: number } {
  return { held: all.filter(({ outcome }) => outcome === "held").length, of: all.length };
}
