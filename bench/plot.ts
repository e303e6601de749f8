/**
 * The speeds of a bench as a small SVG: a bar for each entrant in each figure of each model. Pure.
 *
 * @module
 */
import { number, ratio, type Row } from "./report.ts";
import type { Figure } from "./scenarios.ts";

/** One model's part of the plot. */
export interface PlotPart {
  /** Name above its bars. */
  readonly title: string;
  readonly rows: readonly Row[];
}

const WIDTH = 1060;
const MARGIN = 16;
const NAMES_END = 230;
const BARS_WIDTH = 340;
const BAR = 14;
const STEP = 18;
const LINE = 24;

/** Dark enough to be told apart in print; ours first. */
const COLOURS = ["#1f6feb", "#79b8ff", "#d29922", "#8250df", "#57606a", "#2da44e"];

/**
 * Draws the rows that are speeds. A bar is as long as its value by the largest of its figure.
 *
 * @param heading one line above all, such as the CPU's name
 */
export function plot(heading: string, parts: readonly PlotPart[]): string {
  const shown = parts.flatMap(({ rows }) => [...speedsOf(rows).values()].flat());
  const names = [...new Set(shown.map(({ entrant }) => entrant))];
  const colourOf = (name: string): string => COLOURS[names.indexOf(name) % COLOURS.length]!;
  const shapes: string[] = [];
  let y = MARGIN + BAR;
  const write = (x: number, words: string, style = ""): void => {
    shapes.push(`<text x="${x}" y="${y}"${style}>${escape(words)}</text>`);
  };
  write(MARGIN, heading, ' font-weight="bold"');
  for (const { title, rows } of parts) {
    y += 1.5 * LINE;
    write(MARGIN, title, ' font-weight="bold"');
    for (const [figure, bars] of speedsOf(rows)) {
      y += LINE;
      write(MARGIN, `${figure.name}, ${figure.unit}`);
      const largest = Math.max(...bars.map(({ median }) => median));
      for (const { entrant, median, ratios } of bars) {
        y += STEP;
        write(NAMES_END - 8, entrant, ' text-anchor="end"');
        const width = (BARS_WIDTH * median / largest).toFixed(1);
        const place = `x="${NAMES_END}" y="${y - BAR + 3}" width="${width}" height="${BAR}"`;
        shapes.push(`<rect ${place} fill="${colourOf(entrant)}"/>`);
        const times = ratios.map(({ rival, median }) => `${ratio(median)} x ${rival}`);
        write(NAMES_END + Number(width) + 8, [number(median), ...times].join(", "));
      }
    }
  }
  const height = y + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    ...shapes,
    "</svg>\n",
  ].join("\n");
}

/** The rows of each figure of speed, in their order. */
function speedsOf(rows: readonly Row[]): Map<Figure, Row[]> {
  const speeds = rows.filter(({ figure, median }) => figure.unit === "tok/s" && median > 0);
  return Map.groupBy(speeds, ({ figure }) => figure);
}

function escape(words: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return words.replace(/[&<>"]/g, (char) => names[char]!);
}
