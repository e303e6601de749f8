/**
 * What the project writes into its log, kept for a test.
 *
 * @module
 */
import { configureSync, type LogLevel, type LogRecord, resetSync } from "@logtape/logtape";

/** Records as they come, until it is disposed. */
export class LogRecords implements Disposable {
  readonly records: LogRecord[] = [];

  /** Begins to keep records of a level and above. Default all. */
  constructor(lowestLevel: LogLevel = "trace") {
    configureSync({
      reset: true,
      sinks: { kept: (record) => void this.records.push(record) },
      loggers: [
        { category: ["sluice"], lowestLevel, sinks: ["kept"] },
        { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["kept"] },
      ],
    });
  }

  /** The records of one part, such as `server`. */
  of(part: string): LogRecord[] {
    return this.records.filter(({ category }) => category[1] === part);
  }

  /** Everything that a sink could write of them. */
  get text(): string {
    return this.records.map((record) =>
      JSON.stringify([record.category, record.level, record.message, record.properties])
    ).join("\n");
  }

  [Symbol.dispose](): void {
    resetSync();
  }
}
