/** snapshotOf(): all tokens so far as one. */
import { describe, expect, it } from "bun:test";
import { snapshotOf } from "../../src/stream/snapshot.ts";
import { Stream } from "../../src/stream/stream.ts";
import { FakeSource } from "../support/fake_source.ts";
import { complete, START, token } from "../support/mock_generator.ts";
import { streamParts } from "../support/read_run.ts";

const tokens = (n: number) => Array.from({ length: n }, (_, i) => token(`${i} `, i + 1));

describe("snapshotOf()", () => {
  it("is the start alone where nothing was said", async () => {
    const stream = Stream.begin(streamParts(), START, new FakeSource([]));
    expect(await snapshotOf(stream)).toEqual([{ seq: 0, event: START }]);
  });

  it("joins tokens over as many reads as it takes", async () => {
    const source = new FakeSource([...tokens(1000), complete(1000)]);
    const stream = Stream.begin(streamParts(), START, source);
    const reader = stream.attach(0);
    while (await reader.next() !== undefined);
    const [, snapshot] = await snapshotOf(stream);
    expect(snapshot?.seq).toBe(1000);
    expect(snapshot?.event).toMatchObject({
      text: tokens(1000).map(({ text }) => text).join(""),
      ids: tokens(1000).flatMap(({ ids }) => ids),
    });
  });

  it("says 410 where the beginning was dropped", async () => {
    const source = new FakeSource([...tokens(100), complete(100)]);
    const stream = Stream.begin(streamParts({ logBytesMax: 2000 }), START, source);
    const reader = stream.attach(0);
    while (await reader.next() !== undefined);
    await expect(snapshotOf(stream)).rejects.toMatchObject({ status: 410 });
  });
});
