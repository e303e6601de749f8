/**
 * attend: what a process does for a stream of a shared store while it makes its events.
 *
 * @module
 */
import { RETRY_MS } from "./copy.ts";
import type { Demand, StreamStore } from "./store.ts";
import { pause } from "./within.ts";

/** A stream, and who attends to it. */
export interface AttendanceParts {
  /** The stream. */
  readonly id: string;
  /** Where it is kept. */
  readonly store: StreamStore;
  /** Names this process. */
  readonly holder: string;
  /** How long the right to append outlives its holder. */
  readonly leaseMs: number;
  /** False while the store fails, which has been said then. */
  readonly isReachable: () => boolean;
  /** Does what other processes want. */
  readonly obey: (demand: Demand) => Promise<void>;
  /** Told of every failure. */
  readonly report: (failure: unknown) => void;
}

/** Pause between two looks at what other processes want. */
const HEAR_MS = 100;

/**
 * Renews the right to append, and hears what other processes want: at its own pace, so that no
 * token waits for an answer, and whether or not one is computed.
 *
 * @returns what ends that
 */
export function attend(parts: AttendanceParts): () => void {
  const { id, store, holder, leaseMs, isReachable, obey, report } = parts;
  let isHearing = false;
  const hear = async (): Promise<void> => {
    if (isHearing || !isReachable()) return;
    isHearing = true;
    try {
      await obey(await store.demand(id, {}));
    } catch (failure) {
      report(failure);
      await pause(RETRY_MS);
    } finally {
      isHearing = false;
    }
  };
  const renewal = setInterval(() => {
    store.claim(id, holder, leaseMs).catch(report);
  }, leaseMs / 3);
  const hearing = setInterval(() => void hear(), HEAR_MS);
  return () => {
    clearInterval(renewal);
    clearInterval(hearing);
  };
}
