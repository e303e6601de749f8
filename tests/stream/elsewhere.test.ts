/** Streams that another process makes: read along, stopped, changed and taken over from here. */
import { describe, expect, it } from "bun:test";
import { ContextFullError, OverloadedError } from "../../src/errors.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import type { StreamRecord } from "../../src/stream/store.ts";
import { Stream, type StreamParts } from "../../src/stream/stream.ts";
import { FakeSource } from "../support/fake_source.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { complete, START, token } from "../support/mock_generator.ts";
import { streamParts } from "../support/read_run.ts";

const ID = "0".repeat(32);
const tokens = (n: number): StreamEvent[] =>
  Array.from({ length: n }, (_, i) => token(`t${i}`, i + 1));

/** A store with one stream, whose lease somebody has. */
async function stored(holder: string, leaseMs: number): Promise<MemoryStore> {
  const store = new MemoryStore();
  store.shared = true;
  await store.create({ id: ID, owner: "", createdAt: 0, request: "asked" });
  await store.claim(ID, holder, leaseMs);
  return store;
}

/** The stream of a store as a process finds it. */
async function open(store: MemoryStore, more: Partial<StreamParts> = {}): Promise<Stream> {
  const found = (await store.find(ID))!;
  const parts = { record: found.record, store, holder: "away", onDisconnect: "pause" as const };
  return await Stream.open(streamParts({ ...parts, ...more }), store, found);
}

/** A stream where it is made, with one reader that has the start event, and elsewhere. */
async function pair(
  source: FakeSource,
  more: Partial<StreamParts> = {},
  atHome: Partial<StreamParts> = {},
) {
  const store = await stored("home", 60_000);
  const record = store.records.get(ID)!;
  const parts = { record, store, holder: "home", onDisconnect: "pause" as const, ...atHome };
  const home = Stream.begin(streamParts(parts), START, source);
  const reader = home.attach(0);
  await reader.next();
  return { store, home, reader, away: await open(store, more) };
}

/** A stream whose process is gone, up to its first token. */
async function lost(leaseMs = 1): Promise<MemoryStore> {
  const store = await stored("gone", leaseMs);
  await store.append(ID, 0, [START, ...tokens(1)]);
  return store;
}

async function readAll(stream: Stream, seq = 0): Promise<StreamEvent[]> {
  const reader = stream.attach(seq);
  const events: StreamEvent[] = [];
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    events.push(entry.event);
  }
  return events;
}

/** Resolves once the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe("Stream.stop() where another process makes the stream", () => {
  it("ends it there, and both publish the terminal event", async () => {
    const source = new FakeSource([]);
    const { store, home, away } = await pair(source);
    away.stop();
    await Promise.all([home.over, away.over]);
    expect(source.stopped).toBe(1);
    // Nobody wants a token, nor is one asked for: there is the end alone.
    expect([source.asked, store.demands.get(ID)?.upTo]).toEqual([1, 0]);
    const kept = store.events.get(ID)!;
    expect(kept.at(-1)).toEqual(complete(0, "cancelled"));
    expect(await readAll(away)).toEqual(kept);
  });

  it("ends it while it computes and nobody has asked for more", async () => {
    const source = new FakeSource([]);
    const { reader, home, away } = await pair(source);
    const waiting = reader.next();
    await until(() => source.asked === 1);
    away.stop();
    expect((await waiting)?.event).toEqual(complete(0, "cancelled"));
    await Promise.all([home.over, away.over]);
  });

  it("takes over from one that is gone, and ends it", async () => {
    const store = await lost(50);
    const source = new FakeSource([]);
    const away = await open(store, { revive: () => Promise.resolve(source) });
    away.stop();
    await away.over;
    expect(store.events.get(ID)).toEqual([START, ...tokens(1), complete(0, "cancelled")]);
  });

  it("is heard by whoever takes over, though who asked for it is gone as well", async () => {
    const store = await lost();
    await store.demand(ID, { isStopped: true });
    const source = new FakeSource([]);
    const away = await open(store, { revive: () => Promise.resolve(source) });
    expect(await readAll(away)).toEqual([START, ...tokens(1), complete(0, "cancelled")]);
    expect(source.stopped).toBe(1);
  });

  it("is asked for again where the store did not answer at first", async () => {
    const { store, home, away } = await pair(new FakeSource([]), { report: () => undefined });
    const { demand } = store;
    let stops = 0;
    store.demand = (id, more) => {
      if (more.isStopped !== true || stops++ > 0) return demand.call(store, id, more);
      return Promise.reject(new Error("no answer"));
    };
    away.stop();
    await Promise.all([home.over, away.over]);
    expect(stops).toBeGreaterThan(1);
  });
});

describe("a reader of a stream that another process makes", () => {
  it("ends nothing by leaving, nor by its server's end", async () => {
    const source = new FakeSource(tokens(1));
    const { store, reader, away } = await pair(source, { onDisconnect: "cancel" });
    const far = away.attach(0);
    await far.next();
    await far.close();
    away.suspend();
    await away.over;
    expect((await reader.next())?.event).toEqual(token("t0", 1));
    expect(store.demands.get(ID)?.isStopped ?? false).toBe(false);
    expect(source.stopped).toBe(0);
  });

  it("wants nothing any more once it has left, so that nobody takes over for it", async () => {
    const store = await lost(60);
    store.wait = () => new Promise((resolve) => setTimeout(resolve, 1));
    let revived = 0;
    const revive = () => {
      revived++;
      return Promise.resolve(new FakeSource([]));
    };
    const away = await open(store, { onDisconnect: "cancel", revive });
    const reader = away.attach(2);
    void reader.next();
    await until(() => (store.demands.get(ID)?.upTo ?? 0) > 0);
    await reader.close();
    await until(() => store.leases.get(ID)!.until < performance.now() - 20);
    expect(revived).toBe(0);
  });

  it("ends by leaving what is taken over for it meanwhile", async () => {
    const store = await lost();
    const source = new FakeSource([]);
    const revived = Promise.withResolvers<FakeSource>();
    let isAsked = false;
    const revive = () => {
      isAsked = true;
      return revived.promise;
    };
    const away = await open(store, { onDisconnect: "cancel", revive });
    const reader = away.attach(2);
    void reader.next();
    await until(() => isAsked);
    await reader.close();
    revived.resolve(source);
    await away.over;
    expect(source.stopped).toBe(1);
  });

  it("gets many tokens for one look at the store", async () => {
    const { store, reader, away } = await pair(new FakeSource([...tokens(300), complete(300)]));
    await reader.close();
    const before = store.asked;
    expect((await readAll(away)).length).toBe(302);
    expect(store.asked - before).toBeLessThan(100);
  });
});

describe("Stream.steer() where another process makes the stream", () => {
  it("reaches its source and what is kept of the request, once", async () => {
    const source = new FakeSource([]);
    const { store, home, away } = await pair(source);
    expect(await away.steer("warmer")).toBe(true);
    expect(await away.steer("longer")).toBe(true);
    await until(() => store.demands.get(ID)!.changes.length === 0 && source.changes.length > 1);
    expect(source.changes).toEqual(["warmer", "longer"]);
    expect(store.records.get(ID)!.request).toEqual([["asked", "warmer"], "longer"]);
    expect(home.record).toEqual(store.records.get(ID)!);
    away.stop();
    await away.over;
  });

  it("reaches whoever takes over, beside what was changed before", async () => {
    const store = await lost();
    const revived: StreamRecord[] = [];
    const source = new FakeSource([complete(1)]);
    const revive = (record: StreamRecord) => {
      revived.push(record);
      return Promise.resolve(source);
    };
    const away = await open(store, { revive });
    await store.update(ID, "changed where it was made");
    expect(await away.steer("warmer")).toBe(true);
    await readAll(away);
    expect(revived.map(({ request }) => request)).toEqual([[
      "changed where it was made",
      "warmer",
    ]]);
    expect(source.changes).toEqual([]);
    expect(store.records.get(ID)!.request).toEqual(["changed where it was made", "warmer"]);
  });

  it("is refused where the stream has ended", async () => {
    const store = await lost();
    const away = await open(store);
    await store.append(ID, 2, [complete(1)]);
    expect(await away.steer("warmer")).toBe(false);
  });
});

describe("a stream that another process has taken over", () => {
  it("goes on with what is kept of it, the same for all readers", async () => {
    const source = new FakeSource([...tokens(2), complete(2)]);
    const failures: unknown[] = [];
    const report = (failure: unknown): void => void failures.push(failure);
    const { store, home, reader } = await pair(source, {}, { report });
    await store.append(ID, 1, [token("other", 1)]);
    expect((await reader.next())?.event).toEqual(token("other", 1));
    expect(source.stopped).toBe(1);
    expect(failures.map(String)).toEqual([expect.stringContaining("there is an event already")]);
    expect(home.degraded).toBe(false);
    await store.append(ID, 2, [complete(1)]);
    expect(await readAll(home)).toEqual([START, token("other", 1), complete(1)]);
  });
});

describe("a stream that its engine refuses to go on with", () => {
  it("ends with the reason, which is kept, and lets the stream go", async () => {
    const store = await lost();
    let attempts = 0;
    const revive = () => {
      attempts++;
      return Promise.reject(new ContextFullError(90, 64));
    };
    const events = await readAll(await open(store, { revive }));
    expect(events.at(-1)).toMatchObject({ type: "error", code: "context_length_exceeded" });
    expect(store.events.get(ID)).toEqual(events);
    expect(await store.claim(ID, "other", 1000)).toBe(true);
    expect(attempts).toBe(1);
  });

  it("is offered again where it was refused for now, here and to others", async () => {
    const store = await lost();
    let attempts = 0;
    let wasFree = false;
    const revive = () => {
      attempts++;
      if (attempts > 1) return Promise.resolve(new FakeSource([complete(1)]));
      void until(() => store.leases.get(ID)!.until < performance.now()).then(() => wasFree = true);
      return Promise.reject(new OverloadedError("Cannot start now", 1));
    };
    const events = await readAll(await open(store, { revive, leaseMs: 60_000 }));
    expect(events).toEqual([START, ...tokens(1), complete(1)]);
    expect([attempts, wasFree]).toEqual([2, true]);
  });
});

it("Stream asks a store that nobody shares for no demand", async () => {
  const store = new MemoryStore();
  await store.create({ id: ID, owner: "", createdAt: 0, request: null });
  const parts = streamParts({ store });
  const stream = Stream.begin(parts, START, new FakeSource([...tokens(200), complete(200)]));
  expect((await readAll(stream)).length).toBe(202);
  expect(store.asked).toBe(0);
});
