/**
 * What a step of the set-up is. Types only.
 *
 * @module
 */
import type { Bar } from "./progress.ts";

/** Where a set-up works. */
export interface Site {
  /** The checkout, absolute. */
  readonly root: string;
  /** The cache folder, absolute; see `src/store/cache.ts`. */
  readonly cache: string;
  /** A folder in the cache for half-made things; the set-up deletes it when it ends. */
  readonly temp: string;
  /** Aborted when the set-up must stop; every child process ends then. */
  readonly signal: AbortSignal;
}

/** One thing that the set-up brings onto the machine. */
export interface Step {
  /** The word for `--only`, and the name of its bar. */
  readonly name: string;
  /** What it brings, for the first line: "Zig 0.17.0". */
  readonly brings: string;
  /** Bytes that it downloads, or zero when it builds. */
  readonly fetchBytes: number;
  /** Bytes of disk that it needs while it works. */
  readonly diskBytes: number;
  /** Bytes of memory that it needs. */
  readonly memoryBytes: number;
  /** Steps that must be ready before it runs. */
  readonly after: readonly Step[];
  /**
   * Whether nothing is left to fetch or build. Cheap, and opens no connection; it may lay into the
   * checkout what the cache already holds.
   */
  ready(site: Site): boolean;
  /** One phrase for each tool that is missing: what, what for, and what to do. */
  missing(site: Site): Promise<readonly string[]>;
  /** Does it. Leaves either the finished thing or nothing, whenever it is interrupted. */
  run(site: Site, bar: Bar): Promise<void>;
}
