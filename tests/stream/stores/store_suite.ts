/**
 * What every StreamStore does, as one group of tests.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { StreamEvent } from "../../../src/stream/event.ts";
import {
  NO_DEMAND,
  StreamConflictError,
  type StreamRecord,
  type StreamStore,
} from "../../../src/stream/store.ts";
import { StreamHoleError } from "../../../src/stream/stores/hole.ts";

const START: StreamEvent = { type: "start", replay: null, promptTokens: 3 };
const END: StreamEvent = { type: "error", code: "lost", message: "Cannot go on", hints: [] };

/** The token at a place. */
export function tokenAt(seq: number): StreamEvent {
  const text = `tökén ${seq} "\n`;
  return { type: "token", seq, ids: [seq, 7], text, timeMs: 1.5, choice: 0, channel: "content" };
}

/** `start` and tokens: the events before `end`. */
export function eventsBefore(end: number): StreamEvent[] {
  return Array.from({ length: end }, (_, seq) => seq === 0 ? START : tokenAt(seq));
}

/** The record of a new stream. */
export function newRecord(values: Partial<StreamRecord> = {}): StreamRecord {
  const id = crypto.randomUUID().replaceAll("-", "");
  return { id, owner: "someone", createdAt: 1_700_000_000_000, request: { seed: 1 }, ...values };
}

/** A new stream that has the events before `end`; gives its id. */
export async function fill(store: StreamStore, end: number): Promise<string> {
  const record = newRecord();
  await store.create(record);
  if (end > 0) await store.append(record.id, 0, eventsBefore(end));
  return record.id;
}

/** Resolves once the condition holds; a rejection of it is a "not yet". */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!await condition().catch(() => false)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Registers what a store must do; `open` is called twice, for the same streams. */
export function storeSuite(name: string, open: () => StreamStore | Promise<StreamStore>): void {
  describe(`${name} as a StreamStore`, () => {
    let store: StreamStore;
    let other: StreamStore;
    beforeAll(async () => {
      store = await open();
      other = await open();
    });
    afterAll(async () => {
      await store[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    });
    const stores = (): [StreamStore, StreamStore] => [store, other];
    recordCases(stores);
    eventCases(stores);
    waitCases(stores);
    rightCases(stores);
    demandCases(stores);
    removalCases(stores);
  });
}

type Stores = () => [StreamStore, StreamStore];

function recordCases(stores: Stores): void {
  test("find() gives what create() was given, and no events", async () => {
    const [store, other] = stores();
    const record = newRecord({ owner: "", request: { text: "ü ☃ \u0000", list: [1, null] } });
    await store.create(record);
    const expected = { record, first: 0, end: 0, ended: false };
    expect(await store.find(record.id)).toEqual(expected);
    expect(await other.find(record.id)).toEqual(expected);
  });

  test("find() gives undefined for an id that nobody made", async () => {
    expect(await stores()[0].find(newRecord().id)).toBeUndefined();
  });

  test("create() refuses a second stream of an id and leaves the first", async () => {
    const [store] = stores();
    const record = newRecord();
    await store.create(record);
    await expect(store.create({ ...record, owner: "thief" })).rejects.toThrow();
    expect((await store.find(record.id))?.record.owner).toBe("someone");
  });

  test("update() replaces the request and nothing else", async () => {
    const [store, other] = stores();
    const record = newRecord();
    await store.create(record);
    await store.update(record.id, { seed: 2 });
    expect((await other.find(record.id))?.record).toEqual({ ...record, request: { seed: 2 } });
  });

  test("update() makes no stream of an id that is unknown", async () => {
    const [store] = stores();
    const { id } = newRecord();
    await store.update(id, { seed: 2 });
    expect(await store.find(id)).toBeUndefined();
  });
}

function eventCases(stores: Stores): void {
  test("read() gives the appended events from a place on, at most so many", async () => {
    const [store, other] = stores();
    const id = await fill(store, 5);
    const events = eventsBefore(5);
    expect(await store.read(id, 0, 100)).toEqual(events);
    expect(await other.read(id, 2, 2)).toEqual(events.slice(2, 4));
    expect(await store.read(id, 5, 100)).toEqual([]);
  });

  test("append() goes on where events are, past ten of them", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    for (let seq = 1; seq < 12; seq++) {
      await (seq % 2 ? store : other).append(id, seq, [tokenAt(seq)]);
    }
    expect(await store.read(id, 0, 100)).toEqual(eventsBefore(12));
    expect(await store.find(id)).toMatchObject({ first: 0, end: 12, ended: false });
  });

  test("append() refuses a place that is taken and changes nothing", async () => {
    const [store, other] = stores();
    const id = await fill(store, 3);
    for (const seq of [0, 2]) {
      await expect(other.append(id, seq, [tokenAt(9)])).rejects.toThrow(StreamConflictError);
      await expect(store.append(id, seq, [tokenAt(9), tokenAt(9)])).rejects
        .toThrow(StreamConflictError);
    }
    expect(await store.read(id, 0, 100)).toEqual(eventsBefore(3));
  });

  test("append() lets one of two writers have a place", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    const results = await Promise.allSettled(
      [store, other].map((each) => each.append(id, 1, [tokenAt(1), tokenAt(2)])),
    );
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(await store.read(id, 0, 100)).toEqual(eventsBefore(3));
  });

  test("append() refuses to leave a hole", async () => {
    const [store] = stores();
    const id = await fill(store, 2);
    await expect(store.append(id, 3, [tokenAt(3)])).rejects.toThrow(StreamHoleError);
    await expect(store.append(id, 3, [tokenAt(3), END])).rejects.toThrow(StreamHoleError);
    expect(await store.find(id)).toMatchObject({ end: 2, ended: false });
  });

  test("append() refuses a stream that is not there", async () => {
    const [store] = stores();
    const { id } = newRecord();
    await expect(store.append(id, 0, [START])).rejects.toThrow(StreamHoleError);
    expect(await store.read(id, 0, 1)).toEqual([]);
  });

  test("find() and unfinished() know that a terminal event was appended", async () => {
    const [store, other] = stores();
    const [running, ended, endedAtOnce] = [await fill(store, 2), await fill(store, 2), newRecord()];
    await store.append(ended, 2, [END]);
    await store.create(endedAtOnce);
    await store.append(endedAtOnce.id, 0, [START, END]);
    expect(await other.find(ended)).toMatchObject({ end: 3, ended: true });
    expect(await other.find(endedAtOnce.id)).toMatchObject({ end: 2, ended: true });
    const unfinished = await other.unfinished();
    expect(unfinished).toContain(running);
    expect(unfinished).not.toContain(ended);
    expect(unfinished).not.toContain(endedAtOnce.id);
  });
}

function waitCases(stores: Stores): void {
  test("wait() resolves at once where the event is there", async () => {
    const [store] = stores();
    const id = await fill(store, 2);
    const before = performance.now();
    await store.wait(id, 0, 10_000);
    await store.wait(id, 1, 10_000);
    expect(performance.now() - before).toBeLessThan(5000);
  });

  test("wait() resolves when another store appends the event", async () => {
    const [store, other] = stores();
    const id = await fill(store, 2);
    const before = performance.now();
    const waited = store.wait(id, 2, 10_000);
    await other.append(id, 2, [tokenAt(2)]);
    await waited;
    expect(performance.now() - before).toBeLessThan(5000);
    expect(await store.read(id, 2, 1)).toEqual([tokenAt(2)]);
  });

  test("wait() resolves after its time where nothing comes", async () => {
    const [store] = stores();
    const id = await fill(store, 1);
    const before = performance.now();
    await store.wait(id, 1, 60);
    expect(performance.now() - before).toBeGreaterThan(50);
    await store.wait(id, 1, 0);
  });

  test("wait() holds up nothing else of its store, however many wait", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    const waits = Array.from({ length: 40 }, () => store.wait(id, 1, 10_000));
    const before = performance.now();
    expect((await store.find(id))?.end).toBe(1);
    await other.append(id, 1, [tokenAt(1)]);
    await Promise.all(waits);
    expect(performance.now() - before).toBeLessThan(5000);
  });
}

function rightCases(stores: Stores): void {
  test("claim() gives a stream to one holder until it lets go", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    expect(await store.claim(id, "a", 60_000)).toBe(true);
    expect(await other.claim(id, "b", 60_000)).toBe(false);
    expect(await other.claim(id, "b", 0)).toBe(false);
    expect(await store.claim(id, "a", 60_000)).toBe(true);
    expect(await store.claim(id, "a", 0)).toBe(true);
    expect(await other.claim(id, "b", 60_000)).toBe(true);
    expect(await store.claim(id, "a", 60_000)).toBe(false);
  });

  test("claim() gives a stream to another holder when the lease is over", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    expect(await store.claim(id, "a", 30)).toBe(true);
    await until(() => other.claim(id, "b", 60_000));
    expect(await store.claim(id, "a", 30)).toBe(false);
  });

  test("claim() gives nobody a stream that is not there", async () => {
    expect(await stores()[0].claim(newRecord().id, "a", 1000)).toBe(false);
  });

  test("bind() gives the id that an owner's key was bound to first", async () => {
    const [store, other] = stores();
    const [owner, key] = [crypto.randomUUID(), "a:b"];
    const id = await fill(store, 1);
    expect(await store.bind(owner, key, id)).toBe(id);
    expect(await other.bind(owner, key, "2")).toBe(id);
    expect(await other.bind(owner, "b", "3")).toBe("3");
    expect(await store.bind(`${owner}:a`, "b", "4")).toBe("4");
  });

  test("bind() gives two at once the same id", async () => {
    const owner = crypto.randomUUID();
    const ids = await Promise.all(
      stores().map((store, i) => store.bind(owner, "key", String(i))),
    );
    expect(ids[0]).toBe(ids[1]!);
  });
}

function demandCases(stores: Stores): void {
  test("demand() gives the furthest place that anybody wants where the store is shared", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    const furthest = [];
    for (const upTo of [0, 9, 10, 3, 0]) {
      await other.demand(id, { upTo });
      furthest.push((await store.demand(id, {})).upTo);
    }
    expect(furthest).toEqual(store.shared ? [0, 9, 10, 10, 10] : [0, 0, 0, 0, 0]);
  });

  test("demand() gives a stop for good, beside what else is wanted", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    await other.demand(id, { upTo: 7 });
    const wanted = await other.demand(id, { isStopped: true });
    expect(wanted).toEqual(store.shared ? { upTo: 7, isStopped: true, changes: [] } : NO_DEMAND);
    await other.demand(id, { upTo: 8 });
    expect((await store.demand(id, { isStopped: false })).isStopped).toBe(store.shared);
    expect((await store.demand(await fill(store, 1), {})).isStopped).toBe(false);
  });

  test("demand() gives changes in their order until update() has taken them up", async () => {
    const [store, other] = stores();
    const id = await fill(store, 1);
    const changes = [{ text: "ü ☃" }, null, [1]];
    for (const change of changes) await other.demand(id, { changes: [change] });
    const known = (await store.demand(id, {})).changes;
    expect(known).toEqual(store.shared ? changes : []);
    await other.demand(id, { changes: ["newest"] });
    await store.update(id, { seed: 3 }, known.length);
    expect((await other.demand(id, {})).changes).toEqual(store.shared ? ["newest"] : []);
    await store.update(id, { seed: 4 });
    expect((await other.demand(id, {})).changes).toEqual(store.shared ? ["newest"] : []);
    expect((await store.find(id))?.record.request).toEqual({ seed: 4 });
  });

  test("demand() wants nothing of a stream that is not there", async () => {
    const { id } = newRecord();
    const more = { upTo: 3, isStopped: true, changes: [1] };
    expect(await stores()[0].demand(id, more)).toEqual(NO_DEMAND);
  });
}

function removalCases(stores: Stores): void {
  test("remove() forgets a stream, its events, its lease, its keys and what was wanted of it", async () => {
    const [store, other] = stores();
    const [id, neighbour] = [await fill(store, 3), await fill(store, 3)];
    const owner = crypto.randomUUID();
    await store.bind(owner, "key", id);
    await store.bind(owner, "neighbour", neighbour);
    await store.claim(id, "a", 60_000);
    await store.demand(id, { upTo: 9, isStopped: true, changes: [1] });
    await store.remove(id);
    expect(await other.find(id)).toBeUndefined();
    expect(await other.read(id, 0, 10)).toEqual([]);
    expect(await other.unfinished()).not.toContain(id);
    expect(await other.bind(owner, "key", "new")).toBe("new");
    expect(await other.bind(owner, "neighbour", "new")).toBe(neighbour);
    expect(await other.find(neighbour)).toMatchObject({ end: 3 });
    await store.create(newRecord({ id }));
    expect(await other.claim(id, "b", 60_000)).toBe(true);
    expect(await other.demand(id, {})).toEqual(NO_DEMAND);
  });

  test("sweep() forgets the streams made before a time, and says how many", async () => {
    const [store, other] = stores();
    const records = [10, 20, 30].map((createdAt) => newRecord({ createdAt }));
    for (const record of records) await store.create(record);
    await store.append(records[0]!.id, 0, [START, END]);
    expect(await other.sweep(30)).toBe(2);
    const found = await Promise.all(records.map(({ id }) => store.find(id)));
    expect(found.map((stream) => stream?.record.createdAt)).toEqual([undefined, undefined, 30]);
    expect(await store.sweep(30)).toBe(0);
    expect(await store.sweep(31)).toBe(1);
  });
}
