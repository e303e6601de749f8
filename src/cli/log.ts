/**
 * The command line's log: where records go, from which level on, and how they are written.
 *
 * @module
 */
import process from "node:process";
import {
  configureSync,
  getJsonLinesFormatter,
  getLogfmtFormatter,
  isLogLevel,
  type LogLevel,
  type LogRecord,
} from "@logtape/logtape";
import { SluiceError } from "../errors.ts";

/** What `--help` says of it. */
export const LOG_USAGE =
  `  --log LEVEL               trace, debug, info, warning, error or off, on standard error (info); for
                            parts of it SLUICE_LOG=sluice.stream=debug,sluice.server=warning
  --log-format FORMAT       text or json, one record a line (text)
`;

/** The options, as parseArgs takes them. */
export const LOG_OPTIONS = {
  log: { type: "string", default: "info" },
  "log-format": { type: "string", default: "text" },
} as const;

/** What parseArgs makes of them. */
export interface LogValues {
  readonly log: string;
  readonly "log-format": string;
}

/** From which level on; null is nothing at all. */
type Threshold = LogLevel | null;

const VARIABLE = "SLUICE_LOG";
const PARTS = ["server", "stream", "store", "engine"];
const CATEGORIES = ["sluice", ...PARTS.map((part) => `sluice.${part}`)];
const FORMATS: Readonly<Record<string, (record: LogRecord) => string>> = {
  text: getLogfmtFormatter(),
  json: getJsonLinesFormatter({ properties: "flatten" }),
};

function usageError(option: string, expected: string): SluiceError {
  return new SluiceError(`Cannot use ${option}: expected ${expected}`, "usage", 400);
}

function thresholdOf(option: string, text: string): Threshold {
  const level = text === "warn" ? "warning" : text;
  if (level === "off") return null;
  if (isLogLevel(level)) return level;
  throw usageError(`${option} ${text}`, "trace, debug, info, warning, error, fatal or off");
}

/**
 * Levels by category, from `--log` and from the variable, whose later items win.
 *
 * @param variable items such as `sluice.stream=debug` or `warning`, with commas between them
 * @throws SluiceError `usage`
 */
export function thresholdsOf(level: string, variable = ""): Map<string, Threshold> {
  const thresholds = new Map([["sluice", thresholdOf("--log", level)]]);
  for (const item of variable.split(",").map((item) => item.trim()).filter(Boolean)) {
    const [name, text, ...more] = item.includes("=") ? item.split("=") : ["sluice", item];
    if (!CATEGORIES.includes(name!) || text === undefined || more.length > 0) {
      throw usageError(
        `${VARIABLE}=${item}`,
        `LEVEL or CATEGORY=LEVEL of ${CATEGORIES.join(", ")}`,
      );
    }
    thresholds.set(name!, thresholdOf(VARIABLE, text));
  }
  return thresholds;
}

/**
 * Sends the records of this process to standard error.
 *
 * @param write takes one line; default standard error
 * @throws SluiceError `usage`
 */
export function configureLog(
  values: LogValues,
  variable: string | undefined = process.env[VARIABLE],
  write: (line: string) => void = (line) => void process.stderr.write(line),
): void {
  const format = FORMATS[values["log-format"]];
  if (format === undefined) {
    throw usageError(`--log-format ${values["log-format"]}`, Object.keys(FORMATS).join(" or "));
  }
  const thresholds = thresholdsOf(values.log, variable);
  configureSync({
    reset: true,
    sinks: { lines: (record) => write(format(record)) },
    loggers: [
      ...[...thresholds].map(([name, lowestLevel]) => ({
        category: name.split("."),
        lowestLevel,
        sinks: ["lines" as const],
        // A level of its own holds also where it is lower than that of the whole.
        parentSinks: "override" as const,
      })),
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["lines"] },
    ],
  });
}
