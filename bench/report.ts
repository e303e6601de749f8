/**
 * Samples as a table with ratios, and as JSON. Pure.
 *
 * @module
 */
import type { Entrant } from "./contender.ts";
import type { Sample } from "./rounds.ts";
import type { Figure } from "./scenarios.ts";

/** How one entrant did in one figure. */
export interface Row {
  readonly figure: Figure;
  readonly entrant: string;
  readonly best: number;
  readonly median: number;
  readonly ratios: readonly Ratio[];
}

/**
 * An entrant's value divided by a rival's of the same round: the median over the rounds, and its
 * range. Of two programs that ran one after the other it says more than their values do.
 */
export interface Ratio {
  readonly rival: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Own median divided by the best that the rival ever did. */
  readonly ofBest: number;
}

/** Middle of some values; the mean of the two middle ones where their number is even. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const high = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[high]! : (sorted[high - 1]! + sorted[high]!) / 2;
}

/** Sums the samples up: figures in the order of the samples, entrants in their own. */
export function summarize(
  samples: readonly Sample[],
  entrants: readonly Pick<Entrant, "name" | "rivals">[],
): Row[] {
  const figures = [...new Set(samples.map(({ figure }) => figure))];
  return figures.flatMap((figure) => {
    const ofFigure = samples.filter((sample) => sample.figure === figure);
    return entrants.flatMap(({ name, rivals }) => {
      const own = ofFigure.filter(({ entrant }) => entrant === name);
      if (own.length === 0) return [];
      const values = own.map(({ value }) => value);
      const best = bestOf(figure, values);
      const ratios = figure.compared === false ? [] : rivals.flatMap((rival) => {
        const theirs = ofFigure.filter(({ entrant }) => entrant === rival);
        return ratioOf(rival, own, theirs);
      });
      return [{ figure, entrant: name, best, median: median(values), ratios }];
    });
  });
}

function ratioOf(rival: string, own: readonly Sample[], theirs: readonly Sample[]): Ratio[] {
  const values = own.flatMap(({ round, value }) => {
    const other = theirs.find((sample) => sample.round === round);
    return other === undefined || other.value === 0 ? [] : [value / other.value];
  });
  if (values.length === 0) return [];
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const best = bestOf(own[0]!.figure, theirs.map(({ value }) => value));
  const ofBest = median(own.map(({ value }) => value)) / best;
  return [{ rival, median: median(values), min, max, ofBest }];
}

function bestOf({ better }: Figure, values: readonly number[]): number {
  return better === "more" ? Math.max(...values) : Math.min(...values);
}

/** The rows as text for a terminal. */
export function table(rows: readonly Row[]): string {
  const lines: string[] = [];
  const width = Math.max(...rows.map(({ entrant }) => entrant.length));
  let figure: Figure | undefined;
  for (const row of rows) {
    if (row.figure !== figure) {
      figure = row.figure;
      lines.push("", `${figure.name}: ${figure.unit}, ${figure.better} is better`);
    }
    const best = number(row.best).padStart(8);
    const middle = number(row.median).padStart(8);
    const ratios = row.ratios.map(({ rival, median, min, max, ofBest }) => {
      const range = min === max
        ? ""
        : ` (${ratio(min)}-${ratio(max)}, ${ratio(ofBest)} x its best)`;
      return `   ${ratio(median)} x ${rival}${range}`;
    });
    lines.push(`  ${row.entrant.padEnd(width)}  best${best}  median${middle}${ratios.join("")}`);
  }
  return lines.join("\n").trimStart();
}

/**
 * The rows as one table for a terminal: a line for each figure, a column for each entrant, and the
 * ratios behind them. Columns have letters; the names follow.
 *
 * @param entrants in the order of the columns
 */
export function overview(
  rows: readonly Row[],
  entrants: readonly Pick<Entrant, "name" | "rivals">[],
): string {
  const letter = (name: string): string => {
    return String.fromCharCode(97 + entrants.findIndex((entrant) => entrant.name === name));
  };
  const pairs = entrants.flatMap(({ name, rivals }) => rivals.map((rival) => ({ name, rival })))
    .filter(({ rival }) => entrants.some(({ name }) => name === rival));
  const figures = [...new Set(rows.map(({ figure }) => figure))];
  const lines = figures.map((figure) => {
    const of = (name: string): Row | undefined =>
      rows.find((row) => row.figure === figure && row.entrant === name);
    const medians = entrants.map(({ name }) => of(name)?.median).map(cell(number));
    const ratios = pairs.map(({ name, rival }) =>
      of(name)?.ratios.find((each) => each.rival === rival)?.median
    ).map(cell(ratio));
    return [figure.name, figure.unit, ...medians, ...ratios];
  });
  const head = ["", "", ...entrants.map(({ name }) => letter(name))]
    .concat(pairs.map(({ name, rival }) => `${letter(name)}/${letter(rival)}`));
  const names = entrants.map(({ name }) => `${letter(name)} is ${name}`);
  return [...align([head, ...lines]), "", `Medians; ${names.join(", ")}.`].join("\n");
}

function cell(format: (value: number) => string): (value: number | undefined) => string {
  return (value) => value === undefined ? "-" : format(value);
}

/** Lines of columns: the first two to the left, numbers to the right. */
function align(lines: readonly string[][]): string[] {
  const widths = lines[0]!.map((_, at) => Math.max(...lines.map((line) => line[at]!.length)));
  return lines.map((line) =>
    line.map((text, at) => at < 2 ? text.padEnd(widths[at]!) : text.padStart(widths[at]!))
      .join("  ").trimEnd()
  );
}

/** Three digits that say something, and no more. */
export function number(value: number): string {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

/** A ratio for people. */
export function ratio(value: number): string {
  return value.toFixed(value >= 10 ? 1 : 2);
}
