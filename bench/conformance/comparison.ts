/**
 * Several servers under the same rules, side by side. Pure.
 *
 * @module
 */
import { type Finding, score } from "./check.ts";

/** What was found at one server. */
export interface Exam {
  /** Name of the server. */
  readonly name: string;
  /** One finding for each rule, in the order of the kit. */
  readonly findings: readonly Finding[];
}

/** How an outcome is written. */
export const MARKS = { held: "ok", failed: "FAILED", missing: "missing" } as const;

const GAP = "  ";

/** Route or "server", with which the name of a rule begins. */
const groupOf = (rule: string): string => rule.slice(0, rule.indexOf(" "));

/** A row for each rule, a column for each server, and the scores below, of each route too. */
export function table(exams: readonly Exam[]): string {
  const rules = [...new Set(exams.flatMap(({ findings }) => findings.map(({ name }) => name)))];
  const cellOf = ({ findings }: Exam, rule: string): string => {
    const found = findings.find(({ name }) => name === rule);
    return found === undefined ? "" : MARKS[found.outcome];
  };
  const scoreOf = ({ findings }: Exam, group?: string): string => {
    const all = findings.filter(({ name }) => group === undefined || groupOf(name) === group);
    const { held, of } = score(all);
    return `${held} of ${of}`;
  };
  const groups = [...new Set(rules.map(groupOf))];
  const rows = [
    ["", ...exams.map(({ name }) => name)],
    ...rules.map((rule) => [rule, ...exams.map((exam) => cellOf(exam, rule))]),
    ...groups.map((group) => [`all of ${group}`, ...exams.map((exam) => scoreOf(exam, group))]),
    ["all", ...exams.map((exam) => scoreOf(exam))],
  ];
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join(GAP).trimEnd())
    .join("\n");
}

/** What was seen where a rule does not hold, a paragraph for each server that has such. */
export function remarks(exams: readonly Exam[]): string {
  return exams.flatMap(({ name, findings }) => {
    const open = findings.filter(({ outcome }) => outcome !== "held");
    if (open.length === 0) return [];
    const lines = open.map((each) => `${GAP}${MARKS[each.outcome]}  ${each.name}: ${each.seen}`);
    return [[`${name}:`, ...lines].join("\n")];
  }).join("\n\n");
}
