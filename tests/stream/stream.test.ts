/** Stream: demand drives it, events are kept before they are published, readers cost nothing. */
import { describe, expect, it } from "bun:test";
import { StoreTimeoutError } from "../../src/stream/copy.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { Stream } from "../../src/stream/stream.ts";
import { FakeSource } from "../support/fake_source.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { complete, START, token } from "../support/mock_generator.ts";
import { streamParts } from "../support/read_run.ts";

const ID = "0".repeat(32);
const tokens = (n: number): StreamEvent[] =>
  Array.from({ length: n }, (_, i) => token(`t${i}`, i + 1));

async function stored(store: MemoryStore): Promise<MemoryStore> {
  await store.create({ id: ID, owner: "", createdAt: 0, request: null });
  return store;
}

/** Lets everything run that waits for nothing but its turn. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2));

describe("Stream", () => {
  it("asks its source for nothing that no reader waits for", async () => {
    const source = new FakeSource([...tokens(10), complete(10)]);
    const stream = Stream.begin(streamParts(), START, source);
    const reader = stream.attach(0);
    await settle();
    expect(source.asked).toBe(0);
    for (let i = 0; i < 4; i++) await reader.next();
    await settle();
    expect(source.asked).toBe(3);
    expect(stream.end).toBe(4);
    await reader.close();
  });

  it("gives each reader every event once, whatever its pace", async () => {
    const events = [...tokens(600), complete(600)];
    const stream = Stream.begin(streamParts(), START, new FakeSource(events));
    const read = async (pauses: boolean): Promise<StreamEvent[]> => {
      const reader = stream.attach(0);
      const all: StreamEvent[] = [];
      for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
        expect(entry.seq).toBe(all.length);
        all.push(entry.event);
        if (pauses && all.length % 50 === 0) await settle();
      }
      return all;
    };
    const all = await Promise.all([read(false), read(true), read(false)]);
    for (const each of all) expect(each).toEqual([START, ...events]);
  });

  it("publishes nothing that its store does not have", async () => {
    const store = await stored(new MemoryStore());
    const source = new FakeSource([...tokens(3), complete(3)]);
    const stream = Stream.begin(streamParts({ store }), START, source);
    const reader = stream.attach(0);
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      expect(store.events.get(ID)!.length).toBeGreaterThan(entry.seq);
    }
    expect(store.events.get(ID)).toEqual([START, ...tokens(3), complete(3)]);
    expect(stream.stored).toBe(true);
  });

  it("reads from its store what its memory has dropped", async () => {
    const store = await stored(new MemoryStore());
    const source = new FakeSource([...tokens(100), complete(100)]);
    const stream = Stream.begin(streamParts({ store, logBytesMax: 2000 }), START, source);
    const first = stream.attach(0);
    while (await first.next() !== undefined);
    expect(stream.bytes).toBeLessThanOrEqual(2000);
    const second = stream.attach(0);
    const all: StreamEvent[] = [];
    for (let entry = await second.next(); entry !== undefined; entry = await second.next()) {
      all.push(entry.event);
    }
    expect(all).toEqual([START, ...tokens(100), complete(100)]);
  });

  it("needs no more memory for 32 readers than for one, however long the answer", async () => {
    const bytesWith = async (n: number): Promise<number> => {
      const source = new FakeSource([...tokens(5000), complete(5000)]);
      const stream = Stream.begin(streamParts({ logBytesMax: 20_000 }), START, source);
      let most = 0;
      await Promise.all(Array.from({ length: n }, async () => {
        const reader = stream.attach(0);
        while (await reader.next() !== undefined) most = Math.max(most, stream.bytes);
      }));
      return most;
    };
    const one = await bytesWith(1);
    expect(one).toBeLessThanOrEqual(20_000);
    expect(await bytesWith(32)).toBe(one);
  });

  it("goes on as long as its store fails, says so once, and writes what was missed", async () => {
    const store = await stored(new MemoryStore());
    const failures: unknown[] = [];
    const report = (failure: unknown): void => void failures.push(failure);
    const source = new FakeSource([...tokens(3), complete(3)]);
    const stream = Stream.begin(streamParts({ store, report }), START, source);
    const reader = stream.attach(0);
    await reader.next();
    store.failure = new Error("read-only");
    for (let i = 0; i < 3; i++) await reader.next();
    expect(stream.degraded).toBe(true);
    expect(failures.length).toBe(1);
    store.failure = undefined;
    while (await reader.next() !== undefined);
    while (stream.degraded) await settle();
    expect(store.events.get(ID)).toEqual([START, ...tokens(3), complete(3)]);
  });

  it("takes an event that arrived though its store seemed too late for its own", async () => {
    const store = await stored(new MemoryStore());
    const failures: unknown[] = [];
    const report = (failure: unknown): void => void failures.push(failure);
    const parts = streamParts({ store, report, storeTimeoutMs: 5 });
    const stream = Stream.begin(parts, START, new FakeSource([...tokens(2), complete(2)]));
    const reader = stream.attach(0);
    await reader.next();
    const slow = Promise.withResolvers<void>();
    store.gate = slow.promise;
    await reader.next();
    expect(failures[0]).toBeInstanceOf(StoreTimeoutError);
    store.gate = undefined;
    slow.resolve();
    while (await reader.next() !== undefined);
    while (stream.degraded) await settle();
    expect(store.events.get(ID)).toEqual([START, ...tokens(2), complete(2)]);
  });

  it("stops once however often it is told, and everybody gets the end", async () => {
    const source = new FakeSource(tokens(1));
    const stream = Stream.begin(streamParts({ onDisconnect: "pause" }), START, source);
    const reader = stream.attach(0);
    stream.stop();
    stream.stop();
    await stream.over;
    const types: string[] = [];
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      types.push(entry.event.type);
    }
    expect(types).toEqual(["start", "token", "complete"]);
    expect(stream.ended).toBe(true);
  });

  it("ends a pause that nobody comes back from within its limit", async () => {
    const source = new FakeSource(tokens(9));
    let ended = 0;
    const parts = streamParts({ onDisconnect: "pause", pauseMs: 20, onPauseEnd: () => ended++ });
    const stream = Stream.begin(parts, START, source);
    const first = stream.attach(0);
    await first.next();
    await first.close();
    const second = stream.attach(1);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(source.stopped).toBe(0);
    expect((await second.next())?.event).toEqual(tokens(1)[0]);
    await second.close();
    await stream.over;
    expect(source.stopped).toBe(1);
    expect(ended).toBe(1);
  });

  it("pauses without end where there is no limit", async () => {
    const source = new FakeSource(tokens(9));
    const stream = Stream.begin(streamParts({ onDisconnect: "pause", pauseMs: 0 }), START, source);
    const reader = stream.attach(0);
    await reader.next();
    await reader.close();
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(source.stopped).toBe(0);
    expect(stream.ended).toBe(false);
    stream.stop();
    await stream.over;
  });
});
