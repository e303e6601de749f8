/** StreamReader: its place, its idleness, its leaving. */
import { describe, expect, it } from "bun:test";
import { Stream } from "../../src/stream/stream.ts";
import { FakeSource } from "../support/fake_source.ts";
import { complete, START, token } from "../support/mock_generator.ts";
import { streamParts } from "../support/read_run.ts";

const begin = (onDisconnect: "cancel" | "pause" = "cancel") => {
  const source = new FakeSource([token("a", 1), complete(1)]);
  return { source, stream: Stream.begin(streamParts({ onDisconnect }), START, source) };
};

describe("StreamReader", () => {
  it("begins at its seq and ends after the terminal event", async () => {
    const reader = begin().stream.attach(1);
    expect(await reader.next()).toEqual({ seq: 1, event: token("a", 1) });
    expect(await reader.next()).toEqual({ seq: 2, event: complete(1) });
    expect(await reader.next()).toBe(undefined);
  });

  it("is idle since it got its event, and not while it waits", async () => {
    const stream = Stream.begin(streamParts(), START, new FakeSource([]));
    const reader = stream.attach(0);
    await reader.next();
    expect(reader.idleSince).toBeLessThanOrEqual(performance.now());
    const waiting = reader.next();
    expect(reader.idleSince).toBe(Infinity);
    expect(stream.stalled(performance.now() + 1)).toEqual([]);
    stream.stop();
    await waiting;
    expect(stream.stalled(performance.now() + 1)).toEqual([reader]);
  });

  it("ends the generation by leaving last, and says when that is over", async () => {
    const { stream, source } = begin();
    const readers = [stream.attach(0), stream.attach(0)];
    await readers[0]!.close();
    expect(source.stopped).toBe(0);
    await readers[1]!.close();
    expect(source.stopped).toBe(1);
    expect(stream.ended).toBe(true);
  });

  it("leaves once, and tells that once", async () => {
    const { stream } = begin("pause");
    const reader = stream.attach(0);
    let closed = 0, evicted = 0;
    reader.onClose = () => closed++;
    reader.onEvict = () => evicted++;
    reader.evict();
    await reader.close();
    expect([closed, evicted]).toEqual([1, 1]);
    expect(stream.readers).toBe(0);
  });
});
