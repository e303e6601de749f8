/** Registry: metrics as Prometheus reads them. */
import { describe, expect, it } from "bun:test";
import { Registry } from "../../src/server/exposition.ts";
import { parseExposition, valueIn } from "../support/exposition.ts";

describe("Registry", () => {
  it("writes counters, gauges and histograms with HELP and TYPE", () => {
    const registry = new Registry();
    registry.counter("a_total", "Things.", ["kind"]).add(2, "x");
    registry.gauge("b", "Level.").set(-0.5);
    const histogram = registry.histogram("c_seconds", "Time.", [0.1, 1]);
    for (const value of [0.1, 0.5, 7]) histogram.of().observe(value);
    expect(registry.expose()).toBe(`# HELP a_total Things.
# TYPE a_total counter
a_total{kind="x"} 2
# HELP b Level.
# TYPE b gauge
b -0.5
# HELP c_seconds Time.
# TYPE c_seconds histogram
c_seconds_bucket{le="0.1"} 1
c_seconds_bucket{le="1"} 2
c_seconds_bucket{le="+Inf"} 3
c_seconds_sum 7.6
c_seconds_count 3
`);
  });

  it("escapes what labels and HELP may hold", () => {
    const registry = new Registry();
    const value = 'a "quoted" \\ back\nline';
    registry.counter("a_total", "A \\ and\na line.", ["label"]).add(1, value);
    const text = registry.expose();
    expect(text).toContain("# HELP a_total A \\\\ and\\na line.\n");
    expect(text).toContain('a_total{label="a \\"quoted\\" \\\\ back\\nline"} 1\n');
    expect(valueIn(parseExposition(text), "a_total", { label: value })).toBe(1);
  });

  it("shows a metric without labels at 0, and one with labels once it has some", () => {
    const registry = new Registry();
    registry.counter("a_total", "A.");
    registry.counter("b_total", "B.", ["x"]);
    registry.histogram("c", "C.", [1]);
    const metrics = parseExposition(registry.expose());
    expect(metrics.get("a_total")?.samples).toEqual([{ name: "a_total", labels: {}, value: 0 }]);
    expect(metrics.get("b_total")?.samples).toEqual([]);
    expect(valueIn(metrics, "c_count")).toBe(0);
  });

  it("keeps the series of a histogram apart by their labels", () => {
    const registry = new Registry();
    const histogram = registry.histogram("a_seconds", "A.", [1, 2], ["route"]);
    histogram.of("/x").observe(1.5);
    histogram.of("/y").observe(0.5);
    const metrics = parseExposition(registry.expose());
    expect(valueIn(metrics, "a_seconds_bucket", { route: "/x", le: "1" })).toBe(0);
    expect(valueIn(metrics, "a_seconds_bucket", { route: "/y", le: "1" })).toBe(1);
    expect(valueIn(metrics, "a_seconds_count", { route: "/x" })).toBe(1);
  });

  it("refuses a name that is malformed or taken, and labels that do not fit", () => {
    const registry = new Registry();
    const counter = registry.counter("a_total", "A.", ["x"]);
    expect(() => registry.gauge("a_total", "A.")).toThrow(TypeError);
    expect(() => registry.gauge("a b", "A.")).toThrow(TypeError);
    expect(() => registry.gauge("c", "C.", ["x-y"])).toThrow(TypeError);
    expect(() => counter.add(1)).toThrow(TypeError);
  });
});

describe("parseExposition()", () => {
  const head = "# HELP a A.\n# TYPE a gauge\n";
  it.each([
    ["no line feed at the end", `${head}a 1`],
    ["a sample without TYPE", "a 1\n"],
    ["a TYPE without HELP", "# TYPE a gauge\na 1\n"],
    ["a series twice", `${head}a 1\na 1\n`],
    ["a label twice", `${head}a{x="1",x="2"} 1\n`],
    ["a quote that is not escaped", `${head}a{x="1"2"} 1\n`],
    ["a value that is no number", `${head}a one\n`],
    ["a counter without _total", "# HELP a A.\n# TYPE a counter\na 1\n"],
    [
      "buckets that are not cumulative",
      '# HELP a A.\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\n' +
      "a_sum 1\na_count 1\n",
    ],
    [
      "a count that is not that of +Inf",
      '# HELP a A.\n# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum 1\na_count 2\n',
    ],
  ])("refuses %s", (_what, text) => {
    expect(() => parseExposition(text)).toThrow(SyntaxError);
  });
});
