/**
 * A StreamStore in memory whose writes can be held up or made to fail, for tests of what uses it.
 *
 * @module
 */
import type { StreamEvent } from "../../src/stream/event.ts";
import { isTerminal } from "../../src/stream/log.ts";
import {
  type Demand,
  NO_DEMAND,
  type StoredStream,
  StreamConflictError,
  type StreamRecord,
  type StreamStore,
} from "../../src/stream/store.ts";

/** Keeps everything until it is told not to. */
export class MemoryStore implements StreamStore {
  readonly kind = "test";
  shared = false;
  readonly records = new Map<string, StreamRecord>();
  readonly events = new Map<string, StreamEvent[]>();
  readonly keys = new Map<string, string>();
  readonly leases = new Map<string, { holder: string; until: number }>();
  readonly demands = new Map<string, Demand>();
  /** Set, every append fails with it. */
  failure: Error | undefined;
  /** Set, every append waits for it. */
  gate: Promise<void> | undefined;
  appends = 0;
  /** Times that demand() was called. */
  asked = 0;

  create(record: StreamRecord): Promise<void> {
    this.records.set(record.id, structuredClone(record));
    this.events.set(record.id, []);
    return Promise.resolve();
  }

  find(id: string): Promise<StoredStream | undefined> {
    const record = this.records.get(id);
    const events = this.events.get(id) ?? [];
    return Promise.resolve(
      record && { record, first: 0, end: events.length, ended: events.some(isTerminal) },
    );
  }

  update(id: string, request: unknown, changes = 0): Promise<void> {
    this.records.set(id, { ...this.records.get(id)!, request });
    const demand = this.demands.get(id) ?? NO_DEMAND;
    this.demands.set(id, { ...demand, changes: demand.changes.slice(changes) });
    return Promise.resolve();
  }

  async append(id: string, seq: number, events: readonly StreamEvent[]): Promise<void> {
    this.appends++;
    await this.gate;
    if (this.failure !== undefined) throw this.failure;
    const kept = this.events.get(id)!;
    if (seq !== kept.length) throw new StreamConflictError(id, seq);
    kept.push(...structuredClone(events));
  }

  read(id: string, seq: number, countMax: number): Promise<StreamEvent[]> {
    return Promise.resolve((this.events.get(id) ?? []).slice(seq, seq + countMax));
  }

  async wait(id: string, seq: number, waitMs: number): Promise<void> {
    const end = performance.now() + waitMs;
    while ((this.events.get(id)?.length ?? 0) <= seq && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  unfinished(): Promise<string[]> {
    return Promise.resolve(
      [...this.events].filter(([, all]) => !all.some(isTerminal)).map(([id]) => id),
    );
  }

  claim(id: string, holder: string, leaseMs: number): Promise<boolean> {
    const lease = this.leases.get(id);
    const isMine = lease === undefined || lease.holder === holder ||
      lease.until < performance.now();
    if (isMine) this.leases.set(id, { holder, until: performance.now() + leaseMs });
    return Promise.resolve(isMine);
  }

  bind(owner: string, key: string, id: string): Promise<string> {
    const name = `${owner}\n${key}`;
    if (!this.keys.has(name)) this.keys.set(name, id);
    return Promise.resolve(this.keys.get(name)!);
  }

  demand(id: string, more: Partial<Demand>): Promise<Demand> {
    this.asked++;
    const known = this.demands.get(id) ?? NO_DEMAND;
    const demand = {
      upTo: Math.max(known.upTo, more.upTo ?? 0),
      isStopped: known.isStopped || more.isStopped === true,
      changes: [...known.changes, ...more.changes ?? []],
    };
    this.demands.set(id, demand);
    return Promise.resolve(demand);
  }

  remove(id: string): Promise<void> {
    this.records.delete(id);
    this.events.delete(id);
    for (const [key, bound] of this.keys) if (bound === id) this.keys.delete(key);
    return Promise.resolve();
  }

  sweep(): Promise<number> {
    return Promise.resolve(0);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
