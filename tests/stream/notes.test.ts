/** What streams tell beside their events, and how a source is brought to its end. */
import { describe, expect, it } from "bun:test";
import type { StreamEvent } from "../../src/stream/event.ts";
import type { StreamNote } from "../../src/stream/note.ts";
import { drain } from "../../src/stream/source.ts";
import { checkLimits } from "../../src/stream/limits.ts";
import { Streams } from "../../src/stream/streams.ts";
import { FakeSource } from "../support/fake_source.ts";
import { complete, START, token } from "../support/mock_generator.ts";

const ID = "0123456789abcdef0123456789abcdef";
const record = { id: ID, owner: "", createdAt: 0, request: {} };

function streams(): { all: Streams; notes: StreamNote[] } {
  const notes: StreamNote[] = [];
  const all = new Streams({
    revive: () => Promise.reject(new Error("there is no store")),
    amend: (request) => request,
    onDisconnectOf: () => "cancel",
    report: () => undefined,
    note: (note) => notes.push(note),
  });
  return { all, notes };
}

describe("StreamsOptions.note", () => {
  it("is told of a stream and its readers in order", async () => {
    const { all, notes } = streams();
    const stream = await all.create({
      record,
      onDisconnect: "cancel",
      isStored: false,
      start: START,
      source: new FakeSource([token("a", 1), complete(1)]),
    });
    const reader = await all.attach(stream, 0, false);
    expect(reader.stream).toBe(ID);
    while (await reader.next() !== undefined);
    // Who reads the last event may leave before the stream is over.
    await stream.over;
    await reader.close();
    await all.attach(stream, 1, true);
    expect(notes).toEqual([
      { type: "begun", id: ID },
      { type: "joined", id: ID, seq: 0, isResumed: false, readers: 1 },
      { type: "ended", id: ID, events: 3 },
      { type: "left", id: ID, readers: 0 },
      { type: "joined", id: ID, seq: 1, isResumed: true, readers: 1 },
    ]);
  });

  it("is told of a pause once somebody reads on", async () => {
    const { all, notes } = streams();
    const stream = await all.create({
      record,
      onDisconnect: "pause",
      isStored: false,
      start: START,
      source: new FakeSource([token("a", 1), complete(1)]),
    });
    const reader = await all.attach(stream, 0, false);
    await reader.next();
    while (!stream.paused) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(all.counts).toMatchObject({ paused: 1, pauses: 0 });
    while (await reader.next() !== undefined);
    expect(all.counts).toMatchObject({ paused: 0, pauses: 1 });
    const continued = notes.find((note) => note.type === "continued");
    expect(continued).toMatchObject({ id: ID, seq: 1 });
    expect(continued?.ms).toBeGreaterThanOrEqual(100);
  });
});

describe("drain()", () => {
  it("stops a source and takes what is left up to the terminal event", async () => {
    const left: StreamEvent[] = [token("b", 2), complete(2, "cancelled")];
    let isStopped = false;
    const source = {
      next: () => Promise.resolve(left.shift()!),
      stop: () => void (isStopped = true),
      over: Promise.resolve(),
    };
    await drain(source, token("a", 1));
    expect(isStopped).toBe(true);
    expect(left).toEqual([]);
  });
});

describe("checkLimits()", () => {
  it("fills in the defaults and refuses what is no whole number", () => {
    expect(checkLimits({ readersMax: 1 })).toMatchObject({ readersMax: 1, streamsMax: 64 });
    expect(() => checkLimits({ ageMs: -1 })).toThrow("the limit ageMs is -1");
  });
});
