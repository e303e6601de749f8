/**
 * The part of `bun:test` that the tests use, for Deno: over `node:test` and the package `expect`.
 *
 * deno.json maps `bun:test` to this file; under Bun it is never loaded. It knows nothing of sluice.
 * Left out on purpose: mocks, spies, snapshots and `only`.
 *
 * @module
 */
import * as node from "node:test";
import { inspect } from "node:util";

export { expect } from "expect";

/** Most milliseconds for a test or hook that does not say; tools/test.ts tells Bun the same. */
export const DEFAULT_TIMEOUT_MS = 20_000;

type Body = () => unknown;
type Hook = (body: Body, timeoutMs?: number) => void;
/** The values of one row of a table: its elements, or the row itself. */
type Values<Row> = Row extends readonly unknown[] ? [...Row] : [Row];
/** Registers one test or one group of tests; the time limit is a test's own. */
type Declare = (name: string, body: Body, timeoutMs?: number) => void;

/** `describe`, `it` and `test` with their variants. */
interface Register extends Declare {
  /** Registers it as skipped; its name says what it needs. */
  skip: Declare;
  /** Skips where the condition holds. */
  skipIf(condition: boolean): Declare;
  /** Skips where the condition does not hold. */
  if(condition: boolean): Declare;
  /** Registers what is still to be written, as skipped. */
  todo(name: string, body?: Body, timeoutMs?: number): void;
  /** Registers one for each row; `%s %d %i %f %j %o %p %#` and `$key` in the name show the row. */
  each<const Row>(
    rows: readonly Row[],
  ): (name: string, body: (...values: Values<Row>) => unknown, timeoutMs?: number) => void;
}

/** Whether the group whose body runs is skipped: what it registers is skipped one by one. */
let inSkippedGroup = false;

const declareTest = (skip: boolean): Declare => (name, body, timeoutMs = DEFAULT_TIMEOUT_MS) => {
  const options = { skip: skip || inSkippedGroup, timeout: timeoutMs };
  void node.it(name, options, () => body() as Promise<void>);
};

const declareGroup = (skip: boolean): Declare => (name, body) => {
  // Deno runs the body of a nested group later, so what holds here must be remembered.
  const skipped = skip || inSkippedGroup;
  void node.describe(name, () => {
    const outer = inSkippedGroup;
    inSkippedGroup = skipped;
    try {
      body();
    } finally {
      inSkippedGroup = outer;
    }
  });
};

/** The title of one row of a table: the placeholders in `name` replaced by the row's values. */
function rowTitle(name: string, values: readonly unknown[], index: number): string {
  const [first] = values;
  const fields = typeof first === "object" && first !== null ? Object.entries(first) : [];
  const shown = new Map(fields.map(([key, value]) => [`$${key}`, inspect(value)]));
  let used = 0;
  return name.replace(/\$\w+|%[sdifjop#%]/g, (mark) => {
    if (mark.startsWith("$")) return shown.get(mark) ?? mark;
    if (mark === "%%") return "%";
    if (mark === "%#") return String(index);
    if (used === values.length) return mark;
    const value = values[used++];
    if (mark === "%j") return JSON.stringify(value);
    return mark === "%o" || mark === "%p" ? inspect(value) : String(value);
  });
}

function register(declare: (skip: boolean) => Declare): Register {
  const run = declare(false);
  const skip = declare(true);
  return Object.assign((...args: Parameters<Declare>) => run(...args), {
    skip,
    skipIf: (condition: boolean) => condition ? skip : run,
    if: (condition: boolean) => condition ? run : skip,
    todo: (name: string, body: Body = () => {}) => skip(name, body),
    each:
      <const Row>(rows: readonly Row[]) =>
      (name: string, body: (...values: Values<Row>) => unknown, timeoutMs?: number): void => {
        for (const [index, row] of rows.entries()) {
          const values = (Array.isArray(row) ? row : [row]) as Values<Row>;
          run(rowTitle(name, values, index), () => body(...values), timeoutMs);
        }
      },
  });
}

const hook = (attach: typeof node.before): Hook => (body, timeoutMs = DEFAULT_TIMEOUT_MS) => {
  if (!inSkippedGroup) attach(() => body() as Promise<void>, { timeout: timeoutMs });
};

/** A group of tests. */
export const describe: Register = register(declareGroup);
/** One test. */
export const it: Register = register(declareTest);
/** One test. */
export const test: Register = it;

/** Runs once before the tests of its group. */
export const beforeAll: Hook = hook(node.before);
/** Runs before each test of its group. */
export const beforeEach: Hook = hook(node.beforeEach);
/** Runs after each test of its group. */
export const afterEach: Hook = hook(node.afterEach);
/** Runs once after the tests of its group. */
export const afterAll: Hook = hook(node.after);
