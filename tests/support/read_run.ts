/**
 * A reader of the stream that a run makes, without a handler around it.
 *
 * @module
 */
import type { Run } from "../../src/server/run.ts";
import type { StreamReader } from "../../src/stream/reader.ts";
import { Stream, type StreamParts } from "../../src/stream/stream.ts";

/** The parts of a stream in memory. */
export function streamParts(more: Partial<StreamParts> = {}): StreamParts {
  return {
    record: { id: "0".repeat(32), owner: "", createdAt: 0, request: null },
    onDisconnect: "cancel",
    holder: "test",
    logBytesMax: 1 << 20,
    onDrop: () => undefined,
    onPauseEnd: () => undefined,
    storeTimeoutMs: 250,
    leaseMs: 1000,
    report: (failure) => {
      throw failure;
    },
    amend: (request, change) => [request, change],
    revive: () => Promise.reject(new Error("nothing to go on with")),
    ...more,
  };
}

/** The only reader of a run. */
export function readRun(run: Run): StreamReader {
  return Stream.begin(streamParts(), run.start, run).attach(0);
}
