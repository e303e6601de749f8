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
      const best = figure.better === "more" ? Math.max(...values) : Math.min(...values);
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
  return [{ rival, median: median(values), min, max }];
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
    const ratios = row.ratios.map(({ rival, median, min, max }) => {
      const range = min === max ? "" : ` (${ratio(min)}-${ratio(max)})`;
      return `   ${ratio(median)} x ${rival}${range}`;
    });
    lines.push(`  ${row.entrant.padEnd(width)}  best${best}  median${middle}${ratios.join("")}`);
  }
  return lines.join("\n").trimStart();
}

/** Three digits that say something, and no more. */
function number(value: number): string {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

function ratio(value: number): string {
  return value.toFixed(value >= 10 ? 1 : 2);
}
