/**
 * StreamingConfig: how a stream groups its events, how long it waits, and what a disconnect does.
 *
 * @module
 */
import { type FieldError, RequestError } from "../errors.ts";

/** What a stream can be told; all of it has a default. */
export interface StreamingOptions {
  /** Most events in one chunk, 1 to 10,000; 10 by default. They are never merged into one. */
  bufferSize: number;
  /** Most milliseconds that an event waits for others, to 60,000; 50 by default, 0 is never. */
  flushIntervalMs: number;
  /** How often a stream goes on by replay after the engine was started anew; 3 by default. */
  maxRetries: number;
  /**
   * Most milliseconds between two tokens, while one is computed: not in the queue, nor for the
   * prompt, nor without a reader. 5000 by default, 0 is without limit.
   */
  tokenTimeoutMs: number;
  /** A disconnect ends the generation; otherwise it only detaches. True by default. */
  cancellable: boolean;
}

/** What each whole number is at least and at most. */
const RANGES = {
  bufferSize: [1, 10_000],
  flushIntervalMs: [0, 60_000],
  maxRetries: [0, 100],
  tokenTimeoutMs: [0, 3_600_000],
} as const;
const NAMES = new Set([...Object.keys(RANGES), "cancellable"]);

/** Everything that is wrong with a config. */
function faultsOf(config: StreamingOptions, given: object): FieldError[] {
  const faults: FieldError[] = [];
  for (const [field, [min, max]] of Object.entries(RANGES)) {
    const value: unknown = config[field as keyof typeof RANGES];
    if (Number.isInteger(value) && Number(value) >= min && Number(value) <= max) continue;
    faults.push({
      field,
      message: `is ${String(value)}, expected a whole number from ${min} to ${max}`,
    });
  }
  const cancellable: unknown = config.cancellable;
  if (typeof cancellable !== "boolean") {
    faults.push({
      field: "cancellable",
      message: `is ${String(cancellable)}, expected true or false`,
    });
  }
  for (const field of Object.keys(given).filter((name) => !NAMES.has(name))) {
    faults.push({ field, message: `is not known, expected one of ${[...NAMES].join(", ")}` });
  }
  return faults;
}

/** A checked set of options, which does not change. */
export class StreamingConfig implements Readonly<StreamingOptions> {
  /** Most events in one chunk. */
  readonly bufferSize: number;
  /** Most milliseconds that an event waits for others. */
  readonly flushIntervalMs: number;
  /** How often a stream goes on by replay after the engine was started anew. */
  readonly maxRetries: number;
  /** Most milliseconds between two tokens; 0 is without limit. */
  readonly tokenTimeoutMs: number;
  /** A disconnect ends the generation. */
  readonly cancellable: boolean;

  /**
   * The defaults where nothing else is said: 10 events, 50 ms, 3 retries, 5000 ms, cancellable.
   *
   * @throws RequestError with the code `invalid_streaming_config` that names every bad field
   */
  constructor(options: Partial<StreamingOptions> = {}) {
    this.bufferSize = options.bufferSize ?? 10;
    this.flushIntervalMs = options.flushIntervalMs ?? 50;
    this.maxRetries = options.maxRetries ?? 3;
    this.tokenTimeoutMs = options.tokenTimeoutMs ?? 5000;
    this.cancellable = options.cancellable ?? true;
    const faults = faultsOf(this, options);
    if (faults.length === 0) return;
    const list = faults.map(({ field, message }) => `${field} ${message}`).join("; ");
    throw new RequestError(`Cannot use the streaming config: ${list}`, faults, {
      code: "invalid_streaming_config",
    });
  }

  /** Every event at once, or nearly: 1 event, 10 ms, 1 retry, 1000 ms. */
  static lowLatency(): StreamingConfig {
    return new StreamingConfig({
      bufferSize: 1,
      flushIntervalMs: 10,
      maxRetries: 1,
      tokenTimeoutMs: 1000,
    });
  }

  /** Few, large chunks, and no reader ends the work: 50 events, 200 ms, 5 retries, 10,000 ms. */
  static highThroughput(): StreamingConfig {
    return new StreamingConfig({
      bufferSize: 50,
      flushIntervalMs: 200,
      maxRetries: 5,
      tokenTimeoutMs: 10_000,
      cancellable: false,
    });
  }
}
