import { describe, expect, it } from "bun:test";
import { plot } from "../../bench/plot.ts";
import type { Row } from "../../bench/report.ts";

const speed = { name: "decode", unit: "tok/s", better: "more" } as const;
const memory = { name: "memory", unit: "MB", better: "less" } as const;
const row = (entrant: string, median: number, figure: Row["figure"] = speed): Row => {
  return { figure, entrant, best: median, median, ratios: [] };
};
const ratios = [{ rival: "peer", median: 2, min: 2, max: 2, ofBest: 2 }];

/** Names of the elements in order; throws where one is not closed or not quoted. */
function elements(xml: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  const tag = /<(\/?)([a-z]+)((?: [a-zA-Z-]+="[^"<&]*")*)(\/?)>|&(?:amp|lt|gt|quot);|[^<>&]+/gy;
  for (const match of xml.matchAll(tag)) {
    const [, isEnd, name, , isEmpty] = match;
    if (name === undefined) continue;
    if (isEnd) expect(open.pop()).toBe(name);
    else names.push(name);
    if (!isEnd && !isEmpty) open.push(name);
  }
  expect(xml.replace(tag, "")).toBe("");
  expect(open).toEqual([]);
  return names;
}

describe("plot()", () => {
  it("is well-formed, whatever the names are", () => {
    const rows = [row("ours & <theirs>", 10), row('the "peer"', 5)];
    const names = elements(plot("CPU <1> & 2", [{ title: '"q4"', rows }]));
    expect(names[0]).toBe("svg");
    expect(names.filter((name) => name === "rect")).toHaveLength(3);
  });

  it("draws each bar by the largest of its figure and writes value and ratio beside it", () => {
    const rows = [{ ...row("ours", 200), ratios }, row("peer", 100)];
    const svg = plot("CPU", [{ title: "q4_1", rows }]);
    const widths = [...svg.matchAll(/width="(\d+\.\d)"/g)].map(([, width]) => Number(width));
    expect(widths[0]).toBe(2 * widths[1]!);
    expect(svg).toContain(">200, 2.00 x peer</text>");
  });

  it("draws speeds only", () => {
    const svg = plot("CPU", [{ title: "q4_1", rows: [row("ours", 5, memory)] }]);
    expect(elements(svg).filter((name) => name === "rect")).toHaveLength(1);
    expect(svg).not.toContain("memory");
  });

  it("gives an entrant the same colour everywhere, and is as high as what it shows", () => {
    const parts = [{ title: "one", rows: [row("a", 1), row("b", 2)] }];
    const two = plot("CPU", [...parts, { title: "two", rows: [row("b", 3)] }]);
    const [first, second, third] = [...two.matchAll(/height="14" fill="([^"]+)"/g)]
      .map(([, colour]) => colour);
    expect(first).not.toBe(second);
    expect(third).toBe(second);
    const height = (svg: string): number => Number(/ height="(\d+(?:\.\d+)?)"/.exec(svg)?.[1]);
    expect(height(two)).toBeGreaterThan(height(plot("CPU", parts)));
    const lowest = Math.max(...[...two.matchAll(/ y="([\d.]+)"/g)].map(([, y]) => Number(y)));
    expect(lowest).toBeLessThan(height(two));
  });
});
