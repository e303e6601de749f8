/**
 * A strict parser of Prometheus' text format 0.0.4, which refuses what the format only tolerates.
 *
 * @module
 */

/** One line with a value. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** One metric. */
export interface Metric {
  help: string;
  type: string;
  samples: Sample[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const HELP = new RegExp(`^# HELP (${NAME}) (.+)$`);
const TYPE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`);
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/;

function fail(wrong: string, line: string): never {
  throw new SyntaxError(`Cannot parse the exposition: ${wrong}: ${line}`);
}

function labelsOf(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const [whole, name, value, comma] = LABEL.exec(rest) ?? fail("malformed labels", line);
    if (name! in labels) fail("a label comes twice", line);
    labels[name!] = value!.replaceAll(/\\(.)/g, (_, c) => c === "n" ? "\n" : c);
    rest = rest.slice(whole.length);
    if (comma === "," && rest === "") fail("a comma at the end", line);
  }
  return labels;
}

function valueOf(text: string, line: string): number {
  if (text === "+Inf") return Infinity;
  if (!/^-?(\d+(\.\d+)?|\.\d+)(e[+-]?\d+)?$/.test(text)) fail("malformed value", line);
  return Number(text);
}

/** Name of the metric that a sample belongs to. */
function familyOf(name: string, type: string): string {
  return type === "histogram" ? name.replace(/_(bucket|sum|count)$/, "") : name;
}

const keyOf = (labels: Record<string, string>): string =>
  JSON.stringify(Object.entries(labels).filter(([name]) => name !== "le").sort());

/** Every series of a histogram goes up to +Inf, which is its count, and has a sum. */
function checkHistogram(name: string, { samples }: Metric): void {
  const series = Map.groupBy(samples, ({ labels }) => keyOf(labels));
  for (const [key, group] of series) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => valueOf(labels["le"] ?? "", key));
    const counts = buckets.map(({ value }) => value);
    for (let i = 1; i < buckets.length; i++) {
      if (bounds[i]! <= bounds[i - 1]!) fail("bounds do not go up", name + key);
      if (counts[i]! < counts[i - 1]!) fail("buckets are not cumulative", name + key);
    }
    if (bounds.at(-1) !== Infinity) fail("there is no bucket of +Inf", name + key);
    const count = group.find((sample) => sample.name === `${name}_count`);
    if (count?.value !== counts.at(-1)) fail("the count is not that of +Inf", name + key);
    if (!group.some((sample) => sample.name === `${name}_sum`)) fail("no sum", name + key);
  }
}

/** All metrics by their names. */
export function parseExposition(text: string): Map<string, Metric> {
  if (!text.endsWith("\n")) fail("no line feed at the end", text.slice(-40));
  const metrics = new Map<string, Metric>();
  const seen = new Set<string>();
  let current: { name: string; metric: Metric } | undefined;
  let help: { name: string; text: string } | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const [, helped, helpText] = HELP.exec(line) ?? [];
    const [, typed, type] = TYPE.exec(line) ?? [];
    if (helped !== undefined) {
      if (help !== undefined) fail("a HELP without TYPE", line);
      help = { name: helped, text: helpText! };
    } else if (typed !== undefined) {
      if (help?.name !== typed) fail("a TYPE without its HELP before it", line);
      if (metrics.has(typed)) fail("a metric comes twice", line);
      const isTotal = typed.endsWith("_total");
      if (isTotal !== (type === "counter")) {
        fail("_total is for counters, and for them alone", line);
      }
      current = { name: typed, metric: { help: help.text, type: type!, samples: [] } };
      metrics.set(typed, current.metric);
      help = undefined;
    } else {
      const [, name, labelText = "", valueText] = SAMPLE.exec(line) ?? fail("no sample", line);
      if (current === undefined || familyOf(name!, current.metric.type) !== current.name) {
        fail("a sample outside of its metric", line);
      }
      const labels = labelsOf(labelText, line);
      const key = name + JSON.stringify(Object.entries(labels).sort());
      if (seen.has(key)) fail("a series comes twice", line);
      seen.add(key);
      current.metric.samples.push({ name: name!, labels, value: valueOf(valueText!, line) });
    }
  }
  for (const [name, metric] of metrics) {
    if (metric.type === "histogram") checkHistogram(name, metric);
  }
  return metrics;
}

/** The value of a series; 0 where there is none yet, which is how a rate would take it. */
export function valueIn(
  metrics: ReadonlyMap<string, Metric>,
  name: string,
  labels: Record<string, string> = {},
): number {
  const family = metrics.get(name) ?? metrics.get(name.replace(/_(bucket|sum|count)$/, ""));
  if (family === undefined) throw new RangeError(`There is no metric ${name}`);
  return family.samples.find((sample) =>
    sample.name === name &&
    JSON.stringify(Object.entries(sample.labels).sort()) ===
      JSON.stringify(Object.entries(labels).sort())
  )?.value ?? 0;
}
