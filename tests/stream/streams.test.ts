/** Streams: found by id and owner, bounded by named limits, counted. */
import { describe, expect, it } from "bun:test";
import { OverloadedError } from "../../src/errors.ts";
import type { StreamLimits } from "../../src/stream/limits.ts";
import { Streams, type StreamsOptions } from "../../src/stream/streams.ts";
import { FakeSource } from "../support/fake_source.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { complete, START, token } from "../support/mock_generator.ts";

/** Every stream of this file has an id of its own. */
let made = 0;

function make(
  limits: StreamLimits = {},
  store?: MemoryStore,
  revive: StreamsOptions["revive"] = () => Promise.resolve(new FakeSource([complete(1)])),
) {
  const failures: unknown[] = [];
  const streams = new Streams({
    limits,
    store,
    revive,
    amend: (request) => request,
    onDisconnectOf: () => "pause",
    report: (failure) => failures.push(failure),
  });
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
    expect([stream.degraded, stream.stored, streams.degraded]).toEqual([true, false, true]);
  });

  it("counts the events that memory drops, those of dropped streams too", async () => {
    const { streams, create } = make({ logBytesMax: 2000, ageMs: 0 });
    const events = Array.from({ length: 100 }, (_, i) => token("a", i + 1));
    for (let i = 0; i < 2; i++) {
      const stream = await create("", [...events, complete(100)]);
      const reader = await streams.attach(stream, 0, false);
      while (await reader.next() !== undefined);
      await reader.close();
    }
    expect(streams.counts.streams).toBe(1);
    expect(streams.counts.droppedEvents).toBeGreaterThan(150);
  });

  it("counts the streams that its store forgets for their age", async () => {
    const store = new MemoryStore();
    store.sweep = () => Promise.resolve(3);
    const { streams, create } = make({}, store);
    await create();
    expect(streams.counts.sweptStreams).toBe(3);
  });

  it("counts a stream that goes on here once, and no refusal as a failure of the store", async () => {
    const store = new MemoryStore();
    const { record } = await make({}, store).create("", []);
    const refusal = new OverloadedError("Cannot start now", 1);
    const answers = [Promise.reject(refusal), Promise.resolve(new FakeSource([complete(1)]))];
    const { streams, failures } = make({}, store, () => answers.shift()!);
    const reader = await streams.attach(await streams.open(record.id, ""), 0, false);
    while (await reader.next() !== undefined);
    expect(streams.counts).toMatchObject({ revived: 1, storeFailures: 0 });
    expect(failures).toEqual([refusal]);
  });

  it("counts no stream of another process as its owner's, and drops it once it is left", async () => {
    const store = new MemoryStore();
    store.shared = true;
    const { record } = await make({}, store).create("me", []);
    const { streams, create } = make({ streamsMax: 1, ageMs: 0 }, store);
    const reader = await streams.attach(await streams.open(record.id, "me"), 0, false);
    await reader.next();
    streams.admit("me");
    await create("you");
    expect(streams.counts.streams).toBe(2);
    await reader.close();
    await create("you");
    await expect(streams.open(record.id, "you")).rejects.toThrow("none of that id");
    expect(streams.counts.droppedStreams).toBe(0);
    const again = await streams.attach(await streams.open(record.id, "me"), 0, false);
    expect((await again.next())?.event).toEqual(START);
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
