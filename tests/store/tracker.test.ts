import { describe, expect, it } from "bun:test";
import { OverloadedError } from "../../src/errors.ts";
import { type DownloadEvent, DownloadTracker } from "../../src/store/tracker.ts";

const REF = "hf:owner/tiny";
const progress = (bytes: number, total: number | null = 9): DownloadEvent => ({
  type: "progress",
  modelRef: REF,
  bytes,
  total,
});
const started: DownloadEvent = { type: "started", modelRef: REF };
const complete: DownloadEvent = { type: "complete", modelRef: REF };

describe("DownloadTracker", () => {
  it("tells every reader what happens, in order, and an unknown total as null", async () => {
    const tracker = new DownloadTracker();
    const readers = [tracker.subscribe(), tracker.subscribe(REF)];
    const other = tracker.subscribe("hf:owner/other");
    tracker.started(REF);
    tracker.progress(REF, 1, null);
    tracker.complete(REF);
    for (const reader of readers) {
      expect([await reader.next(), await reader.next(), await reader.next()]).toEqual([
        started,
        progress(1, null),
        complete,
      ]);
      expect(reader.waiting).toBe(0);
    }
    expect(other.waiting).toBe(0);
  });

  it("tells a new reader of what runs: its start and its last progress", async () => {
    const tracker = new DownloadTracker();
    tracker.started("hf:owner/ended");
    tracker.failed("hf:owner/ended", "Cannot");
    tracker.started(REF);
    tracker.progress(REF, 1, 9);
    tracker.progress(REF, 2, 9);
    tracker.started("hf:owner/fresh");
    const all = tracker.subscribe();
    const events = [await all.next(), await all.next(), await all.next()];
    expect(events).toEqual([
      started,
      progress(2),
      { type: "started", modelRef: "hf:owner/fresh" },
    ]);
    const one = tracker.subscribe("hf:owner/fresh");
    expect(await one.next()).toEqual({ type: "started", modelRef: "hf:owner/fresh" });
    expect([all.waiting, one.waiting]).toEqual([0, 0]);
  });

  it("wakes a reader that waits", async () => {
    const tracker = new DownloadTracker();
    const reader = tracker.subscribe();
    const next = reader.next();
    tracker.started(REF);
    expect(await next).toEqual(started);
  });

  it("keeps for a slow reader only the newest progress of each download", async () => {
    const tracker = new DownloadTracker();
    const reader = tracker.subscribe();
    tracker.started(REF);
    for (let bytes = 1; bytes <= 5000; bytes++) tracker.progress(REF, bytes, 5000);
    tracker.failed(REF, "Cannot");
    expect(reader.waiting).toBe(3);
    expect(await reader.next()).toEqual(started);
    expect(await reader.next()).toEqual(progress(5000, 5000));
    expect(await reader.next()).toEqual({ type: "error", modelRef: REF, message: "Cannot" });
  });

  it("puts out a reader whose queue overflows, and no other", async () => {
    const tracker = new DownloadTracker({ queue: 4 });
    const [slow, quick] = [tracker.subscribe(), tracker.subscribe()];
    let isTold = false;
    slow.onEnd = () => isTold = true;
    for (let i = 0; i < 5; i++) {
      tracker.started(`hf:owner/m${i}`);
      expect(await quick.next()).toEqual({ type: "started", modelRef: `hf:owner/m${i}` });
    }
    expect(isTold).toBe(true);
    expect(await slow.next()).toBeUndefined();
    expect(tracker.counts).toEqual({ running: 5, readers: 1, evicted: 1, refused: 0 });
  });

  it("puts out a reader that lets an event wait for too long", async () => {
    let now = 0;
    const tracker = new DownloadTracker({ stallMs: 1000, now: () => now });
    const reader = tracker.subscribe();
    tracker.started(REF);
    tracker.progress(REF, 1, 9);
    now = 999;
    tracker.progress(REF, 2, 9);
    expect(await reader.next()).toEqual(started);
    expect(tracker.counts.evicted).toBe(0);
    // The progress in its queue is newer than the place that it holds there.
    now = 1000;
    tracker.progress(REF, 3, 9);
    expect(tracker.counts).toMatchObject({ readers: 0, evicted: 1 });
    expect(await reader.next()).toBeUndefined();
  });

  it("refuses more readers than are allowed, until one leaves", () => {
    const tracker = new DownloadTracker({ readers: 2 });
    const first = tracker.subscribe();
    tracker.subscribe();
    expect(() => tracker.subscribe()).toThrow(OverloadedError);
    expect(tracker.counts.refused).toBe(1);
    first.close();
    tracker.subscribe();
    expect(tracker.counts.readers).toBe(2);
  });

  it("forgets a reader that leaves its loop, or its block", async () => {
    const tracker = new DownloadTracker();
    const reader = tracker.subscribe();
    tracker.started(REF);
    for await (const event of reader) {
      expect(event).toEqual(started);
      break;
    }
    {
      using _ = tracker.subscribe();
      expect(tracker.counts.readers).toBe(1);
    }
    expect(tracker.counts.readers).toBe(0);
    expect(await reader.next()).toBeUndefined();
  });

  it("ends every reader when it is closed, also one that waits", async () => {
    const tracker = new DownloadTracker();
    const waiting = tracker.subscribe().next();
    tracker.close();
    expect(await waiting).toBeUndefined();
    expect(tracker.counts.readers).toBe(0);
  });
});
