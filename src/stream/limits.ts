/**
 * Limits of a set of streams, and how often they were met.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";

/** Limits of a set of streams; every one has a default. */
export interface StreamLimits {
  /** Readers that one stream may have at once. Default 32. */
  readersMax?: number;
  /** Streams that one owner may have running at once. Default 64. */
  streamsMax?: number;
  /** Bytes of the events of one stream in memory; the oldest are dropped. Default 1 MiB. */
  logBytesMax?: number;
  /** Bytes of all ended streams in memory; the oldest are dropped. Default 64 MiB. */
  memoryBytesMax?: number;
  /** Milliseconds that a stream may pause without a reader; 0 is no limit. Default 5 minutes. */
  pauseMs?: number;
  /** Milliseconds that an ended stream can be read again from memory. Default 5 minutes. */
  ageMs?: number;
  /** Milliseconds that a store keeps a stream and what it was asked for. Default 24 hours. */
  storeAgeMs?: number;
  /** Milliseconds without a read after which a reader is put out; 0 is never. Default 30 s. */
  stallMs?: number;
  /** Milliseconds after which a reader has to connect again; 0 is never. Default 30 minutes. */
  subscriberMs?: number;
  /** Milliseconds that a store may take before an event goes out without it. Default 250. */
  storeTimeoutMs?: number;
  /** Milliseconds after which another replica takes over from one that is gone. Default 4000. */
  leaseMs?: number;
}

/** How often each limit was met, and what there is now. */
export interface StreamCounts {
  /** Streams that run. */
  running: number;
  /** Of those, streams that wait for a reader to want more. */
  paused: number;
  /** Streams in memory, ended ones too. */
  streams: number;
  /** Readers that are attached. */
  readers: number;
  /** Bytes of all events in memory. */
  bytes: number;
  /** Pauses for want of demand that are over. */
  pauses: number;
  /** Readers that came with a cursor. */
  resumed: number;
  /** Streams that went on after their process was lost. */
  revived: number;
  /** Requests refused by `readersMax`. */
  refusedReaders: number;
  /** Requests refused by `streamsMax`. */
  refusedStreams: number;
  /** Readers put out by `stallMs`. */
  stalledReaders: number;
  /** Readers put out by `subscriberMs`. */
  expiredReaders: number;
  /** Events dropped from memory by `logBytesMax`; a store may have them still. */
  droppedEvents: number;
  /** Pauses that nobody came back from in time. */
  endedPauses: number;
  /** Ended streams dropped by `ageMs` and `memoryBytesMax`. */
  droppedStreams: number;
  /** Of those, streams that only `memoryBytesMax` has dropped. */
  crowdedStreams: number;
  /** Streams that the store forgot by `storeAgeMs`. */
  sweptStreams: number;
  /** Failures of the store. */
  storeFailures: number;
}

const DEFAULTS: Required<StreamLimits> = {
  readersMax: 32,
  streamsMax: 64,
  logBytesMax: 1 << 20,
  memoryBytesMax: 64 << 20,
  pauseMs: 5 * 60_000,
  ageMs: 5 * 60_000,
  storeAgeMs: 24 * 3_600_000,
  stallMs: 30_000,
  subscriberMs: 30 * 60_000,
  storeTimeoutMs: 250,
  leaseMs: 4000,
};
/**
 * All limits, those that are not given as they are by default.
 *
 * @throws SluiceError `invalid_option` where one is no whole number from 0
 */
export function checkLimits(limits: StreamLimits): Required<StreamLimits> {
  const all = { ...DEFAULTS, ...limits };
  for (const [name, value] of Object.entries(all)) {
    if (Number.isInteger(value) && value >= 0) continue;
    throw new SluiceError(
      `Cannot keep streams: the limit ${name} is ${value}, expected an integer from 0`,
      "invalid_option",
      500,
    );
  }
  return all;
}
