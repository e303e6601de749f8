/**
 * Exposition: counters, gauges and histograms, and their text for Prometheus (format 0.0.4).
 *
 * @module
 */

/** The type of the text. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** A metric with all its series. */
interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  lines(): string[];
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? "+Inf" : "-Inf";
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function labelsText(names: readonly string[], values: readonly string[]): string {
  if (names.length === 0) return "";
  return `{${names.map((name, i) => `${name}="${escaped(values[i]!)}"`).join(",")}}`;
}

/** The series of one metric by the values of its labels. */
class SeriesMap<T> {
  readonly #names: readonly string[];
  readonly #create: () => T;
  readonly #series = new Map<string, { readonly values: readonly string[]; readonly state: T }>();

  constructor(names: readonly string[], create: () => T) {
    this.#names = names;
    this.#create = create;
    // What has no labels is there from the start, so that a rate can be told of its first step.
    if (names.length === 0) this.at([]);
  }

  at(values: readonly string[]): T {
    const key = values.join("\0");
    let series = this.#series.get(key);
    if (series === undefined) {
      if (values.length !== this.#names.length) {
        throw new TypeError(
          `Cannot find the series: expected values for ${this.#names.join(", ")}`,
        );
      }
      this.#series.set(key, series = { values, state: this.#create() });
    }
    return series.state;
  }

  lines(write: (state: T, labels: (more?: string) => string) => string[]): string[] {
    return [...this.#series.values()].flatMap(({ values, state }) =>
      write(state, (more) => {
        const [names, all] = more === undefined
          ? [this.#names, values]
          : [[...this.#names, "le"], [...values, more]];
        return labelsText(names, all);
      })
    );
  }
}

/** A figure for each set of labels: a counter, which only goes up, or a gauge. */
export class Figure implements Family {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly #series: SeriesMap<{ value: number }>;

  /** Use `Registry`. */
  constructor(name: string, help: string, type: "counter" | "gauge", labels: readonly string[]) {
    this.name = name;
    this.help = help;
    this.type = type;
    this.#series = new SeriesMap(labels, () => ({ value: 0 }));
  }

  /** Adds to a series; label values come in the order of their names. */
  add(by: number, ...labels: string[]): void {
    this.#series.at(labels).value += by;
  }

  /** Sets a series to what somebody else has counted. */
  set(to: number, ...labels: string[]): void {
    this.#series.at(labels).value = to;
  }

  lines(): string[] {
    return this.#series.lines(({ value }, labels) => [
      `${this.name}${labels()} ${numberText(value)}`,
    ]);
  }
}

/** How often values were how large, for one set of labels. */
export class Distribution {
  readonly #bounds: readonly number[];
  readonly #counts: Float64Array;
  #sum = 0;

  /** Use `Histogram`. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Counts a value, in the unit of the metric's name. */
  observe(value: number): void {
    const bounds = this.#bounds;
    let i = 0;
    while (i < bounds.length && value > bounds[i]!) i++;
    this.#counts[i]! += 1;
    this.#sum += value;
  }

  /** Its lines: buckets that hold all smaller ones, the sum, and how many there were. */
  lines(name: string, labels: (le?: string) => string): string[] {
    let below = 0;
    const buckets = [...this.#bounds, Infinity].map((bound, i) => {
      below += this.#counts[i]!;
      return `${name}_bucket${labels(numberText(bound))} ${below}`;
    });
    return [
      ...buckets,
      `${name}_sum${labels()} ${numberText(this.#sum)}`,
      `${name}_count${labels()} ${below}`,
    ];
  }
}

/** A distribution for each set of labels. */
export class Histogram implements Family {
  readonly name: string;
  readonly help: string;
  readonly type = "histogram" as const;
  readonly #series: SeriesMap<Distribution>;

  /** Use `Registry`. */
  constructor(name: string, help: string, bounds: readonly number[], labels: readonly string[]) {
    this.name = name;
    this.help = help;
    this.#series = new SeriesMap(labels, () => new Distribution(bounds));
  }

  /** The series of these labels; whoever observes often keeps it. */
  of(...labels: string[]): Distribution {
    return this.#series.at(labels);
  }

  lines(): string[] {
    return this.#series.lines((distribution, labels) => distribution.lines(this.name, labels));
  }
}

/** All metrics of a server. */
export class Registry {
  readonly #families = new Map<string, Family>();

  /** A new counter; by convention its name ends in `_total`. */
  counter(name: string, help: string, labels: readonly string[] = []): Figure {
    return this.#add(new Figure(name, help, "counter", labels), labels);
  }

  /** A new gauge. */
  gauge(name: string, help: string, labels: readonly string[] = []): Figure {
    return this.#add(new Figure(name, help, "gauge", labels), labels);
  }

  /** A new histogram; `bounds` go up, and `+Inf` is added. */
  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    labels: readonly string[] = [],
  ): Histogram {
    return this.#add(new Histogram(name, help, bounds, labels), labels);
  }

  /** @throws TypeError where a name is malformed or taken */
  #add<T extends Family>(family: T, labels: readonly string[]): T {
    const isFit = METRIC_NAME.test(family.name) && labels.every((name) => LABEL_NAME.test(name));
    if (!isFit || this.#families.has(family.name)) {
      throw new TypeError(`Cannot add the metric ${family.name}: a name is malformed or taken`);
    }
    this.#families.set(family.name, family);
    return family;
  }

  /** The text, one metric after the other. */
  expose(): string {
    return [...this.#families.values()].map((family) => {
      const help = family.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
      const head = [`# HELP ${family.name} ${help}`, `# TYPE ${family.name} ${family.type}`];
      return [...head, ...family.lines()].map((line) => `${line}\n`).join("");
    }).join("");
  }
}
