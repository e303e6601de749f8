/** Streams: found by id and owner, bounded by named limits, counted. */
import { describe, expect, it } from "bun:test";
import { type StreamLimits, Streams } from "../../src/stream/streams.ts";
import { FakeSource } from "../support/fake_source.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { complete, START, token } from "../support/mock_generator.ts";

function make(limits: StreamLimits = {}, store?: MemoryStore) {
  const failures: unknown[] = [];
  const streams = new Streams({
    limits,
    store,
    revive: () => Promise.resolve(new FakeSource([complete(1)])),
    onDisconnectOf: () => "pause",
    report: (failure) => failures.push(failure),
  });
  let made = 0;
  const create = (owner = "", events = [token("a", 1), complete(1)]) =>
    streams.create({
      record: {
        id: String(made++).padStart(32, "0"),
        owner,
        createdAt: Date.now(),
        request: null,
      },
      onDisconnect: "pause",
      isStored: true,
      start: START,
      source: new FakeSource(events),
    });
  return { streams, create, failures };
}

describe("Streams", () => {
  it("finds a stream by its id, for its owner alone", async () => {
    const { streams, create } = make();
    const stream = await create("me");
    expect(await streams.open(stream.record.id, "me")).toBe(stream);
    await expect(streams.open(stream.record.id, "you")).rejects.toThrow("none of that id");
  });

  it("gives an owner so many running streams and no more", async () => {
    const { streams, create } = make({ streamsMax: 2 });
    await create("me", []);
    await create("me", []);
    await create("you", []);
    expect(() => streams.admit("me")).toThrow("expected fewer than 2");
    streams.admit("you");
    streams.running[0]!.stop();
    await streams.running[0]!.over;
    streams.admit("me");
    expect(streams.counts.refusedStreams).toBe(1);
  });

  it("drops the oldest ended streams where they take too much, never a running one", async () => {
    const { streams, create } = make({ memoryBytesMax: 2000 });
    const running = await create("", []);
    const ended = [];
    for (let i = 0; i < 20; i++) {
      const stream = await create();
      const reader = await streams.attach(stream, 0, false);
      while (await reader.next() !== undefined);
      await reader.close();
      ended.push(stream);
    }
    await create();
    expect(streams.counts.bytes).toBeLessThan(3000);
    expect(streams.counts.droppedStreams).toBeGreaterThan(10);
    expect(await streams.open(running.record.id, "")).toBe(running);
    await expect(streams.open(ended[0]!.record.id, "")).rejects.toThrow("was dropped");
    expect(await streams.open(ended.at(-1)!.record.id, "")).toBe(ended.at(-1)!);
  });

  it("opens a stream of its store once, however many ask at the same time", async () => {
    const store = new MemoryStore();
    const { create } = make({}, store);
    const { record } = await create();
    await store.append(record.id, store.events.get(record.id)!.length, [complete(0)]);
    const { streams } = make({}, store);
    const opened = await Promise.all(Array.from({ length: 5 }, () => streams.open(record.id, "")));
    expect(new Set(opened).size).toBe(1);
    expect(streams.counts.streams).toBe(1);
  });

  it("makes a stream in memory where its store refuses, and says so", async () => {
    const store = new MemoryStore();
    store.create = () => Promise.reject(new Error("disk full"));
    const { streams, create, failures } = make({}, store);
    const stream = await create();
    const reader = await streams.attach(stream, 0, false);
    while (await reader.next() !== undefined);
    expect(failures.map(String)).toEqual(["Error: disk full"]);
    expect(streams.counts.storeFailures).toBe(1);
  });

  it("binds a key once for each owner", async () => {
    const { streams } = make();
    expect(await streams.bind("me", "k", "1")).toBe("1");
    expect(await streams.bind("me", "k", "2")).toBe("1");
    expect(await streams.bind("you", "k", "3")).toBe("3");
    await streams.unbind("me", "k", "2");
    expect(await streams.bind("me", "k", "4")).toBe("1");
    await streams.unbind("me", "k", "1");
    expect(await streams.bind("me", "k", "4")).toBe("4");
  });

  it.each([-1, 1.5, NaN])("refuses a limit of %d", (value) => {
    expect(() => make({ ageMs: value })).toThrow("Cannot keep streams: the limit ageMs");
  });
});
