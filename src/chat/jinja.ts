/**
 * JinjaProgram: a parsed Jinja template that runs within limits and with names of our own.
 *
 * The template comes with a model file, so it is not trusted: it can neither run without end nor
 * reach anything but the values that it is given. Knows nothing of chats.
 *
 * @module
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";

/** What one run of a template may take. */
export interface JinjaLimits {
  /** Expressions and statements that are evaluated. */
  steps: number;
  /** Expressions and statements inside each other, macros that are called included. */
  depth: number;
  /** Milliseconds, for templates whose single steps are long. */
  timeMs: number;
  /** UTF-16 units of any text on the way and of the result. */
  textLength: number;
  /** Numbers that `range` makes. */
  rangeLength: number;
}

/** The limits of `JinjaProgram.run` where none are given. */
export const jinjaLimits: Readonly<JinjaLimits> = {
  steps: 1_000_000,
  depth: 500,
  timeMs: 2000,
  textLength: 16 * 2 ** 20,
  rangeLength: 65_536,
};

/** The template called `raise_exception`; the message is its own. */
export class TemplateRefusal extends Error {
  override name = "TemplateRefusal";
}

/** A parsed template. */
export class JinjaProgram {
  readonly #program: ReturnType<typeof parse>;

  /**
   * @param mark changes each text and string literal of the template
   * @throws {Error} when the source cannot be parsed
   */
  constructor(source: string, mark: (text: string) => string) {
    this.#program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
    markLiterals(this.#program, mark);
  }

  /**
   * Renders the template.
   *
   * @param now what `strftime_now` tells
   * @throws {TemplateRefusal} when the template says so
   * @throws {Error} when the template fails or takes more than its limits
   */
  run(
    variables: Readonly<Record<string, unknown>>,
    now: Date = new Date(),
    limits: JinjaLimits = jinjaLimits,
  ): string {
    const environment = new Environment();
    const globals = {
      true: true,
      false: false,
      none: null,
      True: true,
      False: false,
      None: null,
      raise_exception: (message: unknown): never => {
        throw new TemplateRefusal(String(message));
      },
      range: (...numbers: number[]) => range(numbers, limits.rangeLength),
      strftime_now: (format: string) => strftime(now, format),
    };
    for (const [name, value] of Object.entries({ ...globals, ...variables })) {
      environment.set(name, value);
    }
    return String(new LimitedInterpreter(environment, limits).run(this.#program).value);
  }
}

/** Watches over what it evaluates. */
class LimitedInterpreter extends Interpreter {
  readonly #limits: JinjaLimits;
  readonly #deadline: number;
  #steps = 0;
  #depth = 0;

  constructor(environment: Environment, limits: JinjaLimits) {
    super(environment);
    this.#limits = limits;
    this.#deadline = performance.now() + limits.timeMs;
  }

  override evaluate(
    ...[statement, environment]: Parameters<Interpreter["evaluate"]>
  ): ReturnType<Interpreter["evaluate"]> {
    const { steps, depth, timeMs, textLength } = this.#limits;
    if (++this.#steps > steps) throw new Error(`it takes more than ${steps} steps`);
    if (this.#depth >= depth) throw new Error(`it goes deeper than ${depth} levels`);
    if (performance.now() > this.#deadline) throw new Error(`it takes more than ${timeMs} ms`);
    this.#depth++;
    try {
      const result = super.evaluate(statement, environment);
      const length = typeof result.value === "string" ? result.value.length : 0;
      if (length <= textLength) return result;
      throw new Error(`it makes a text of more than ${textLength} characters`);
    } finally {
      this.#depth--;
    }
  }
}

function markLiterals(node: unknown, mark: (text: string) => string): void {
  if (typeof node !== "object" || node === null) return;
  if ("type" in node && node.type === "StringLiteral" && "value" in node) {
    node.value = mark(String(node.value));
    return;
  }
  const children = node instanceof Map ? [...node].flat() : Object.values(node);
  for (const child of children) markLiterals(child, mark);
}

function range(numbers: readonly number[], lengthMax: number): number[] {
  const [first = 0, second, step = 1] = numbers;
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length <= lengthMax) return Array.from({ length }, (_, i) => start + i * step);
  throw new Error(`range() makes ${length} numbers, expected at most ${lengthMax}`);
}

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

/** A date as Python's strftime writes it in English; codes that are not known stay as they are. */
function strftime(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const codes: Record<string, string> = {
    "%Y": String(date.getFullYear()),
    "%y": two(date.getFullYear() % 100),
    "%m": two(date.getMonth() + 1),
    "%B": months[date.getMonth()]!,
    "%b": months[date.getMonth()]!.slice(0, 3),
    "%d": two(date.getDate()),
    "%A": days[date.getDay()]!,
    "%a": days[date.getDay()]!.slice(0, 3),
    "%H": two(date.getHours()),
    "%M": two(date.getMinutes()),
    "%S": two(date.getSeconds()),
    "%%": "%",
  };
  return format.replace(/%./g, (code) => codes[code] ?? code);
}
