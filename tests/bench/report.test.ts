import { describe, expect, it } from "bun:test";
import { median, overview, summarize, table } from "../../bench/report.ts";
import type { Figure } from "../../bench/scenarios.ts";

const speed: Figure = { name: "decode", unit: "tok/s", better: "more" };
const start: Figure = { name: "start", unit: "ms", better: "less" };
const entrants = [{ name: "ours", rivals: ["peer", "absent"] }, { name: "peer", rivals: [] }];
const samples = (figure: Figure, entrant: string, values: readonly number[]) =>
  values.map((value, round) => ({ figure, entrant, round, value }));

describe("median()", () => {
  it.each([
    [[3], 3],
    [[9, 1, 5], 5],
    [[10, 1, 2, 9], 5.5],
  ])("of %j is %d", (values, middle) => {
    expect(median(values)).toBe(middle);
  });
});

describe("summarize()", () => {
  it("divides by the rival's value of the same round, not of the best one", () => {
    const rows = summarize(
      [...samples(speed, "ours", [100, 60, 90]), ...samples(speed, "peer", [50, 60, 30])],
      entrants,
    );
    expect(rows[0]).toMatchObject({
      entrant: "ours",
      best: 100,
      median: 90,
      ratios: [{ rival: "peer", median: 2, min: 1, max: 3, ofBest: 1.5 }],
    });
    expect(rows[1]).toMatchObject({ entrant: "peer", best: 60, median: 50, ratios: [] });
  });

  it("takes the least for the best where less is better", () => {
    expect(summarize(samples(start, "ours", [40, 30, 50]), entrants)[0]?.best).toBe(30);
  });

  it("leaves rounds out that the rival did not play", () => {
    const late = [{ figure: speed, entrant: "peer", round: 1, value: 10 }];
    const rows = summarize([...samples(speed, "ours", [99, 20]), ...late], entrants);
    expect(rows[0]?.ratios).toMatchObject([{ rival: "peer", median: 2, min: 2, max: 2 }]);
  });

  it("gives no ratio to a value of zero", () => {
    const both = [...samples(speed, "ours", [5]), ...samples(speed, "peer", [0])];
    expect(summarize(both, entrants)[0]?.ratios).toEqual([]);
  });
});

describe("table()", () => {
  it("shows a line for each entrant below its figure", () => {
    const rows = summarize(
      [...samples(speed, "ours", [120, 110]), ...samples(speed, "peer", [100, 100])],
      entrants,
    );
    expect(table(rows)).toBe(
      "decode: tok/s, more is better\n" +
        "  ours  best     120  median     115   1.15 x peer (1.10-1.20, 1.15 x its best)\n" +
        "  peer  best     100  median     100",
    );
  });
});

describe("overview()", () => {
  it("has a column for each entrant and each ratio, and a dash where there is none", () => {
    const rows = summarize(
      [
        ...samples(speed, "ours", [120, 110]),
        ...samples(speed, "peer", [50, 50]),
        ...samples(start, "ours", [300]),
      ],
      entrants,
    );
    expect(overview(rows, entrants)).toBe(
      "                 a     b   a/b\n" +
        "decode  tok/s  115  50.0  2.30\n" +
        "start   ms     300     -     -\n" +
        "\n" +
        "Medians; a is ours, b is peer.",
    );
  });
});
