/** The entry of the stream package: it stands alone. */
import { expect, it } from "bun:test";
import { Streams } from "../../src/stream/mod.ts";
import { FakeSource } from "../support/fake_source.ts";
import { complete, START, token } from "../support/mock_generator.ts";

it("Streams works without model, native library and server", async () => {
  const streams = new Streams({
    revive: () => Promise.reject(new Error("nothing is stored")),
    amend: (request) => request,
    onDisconnectOf: () => "cancel",
    report: () => undefined,
  });
  const stream = await streams.create({
    record: { id: "0".repeat(32), owner: "", createdAt: 0, request: null },
    onDisconnect: "cancel",
    isStored: false,
    start: START,
    source: new FakeSource([token("a", 1), complete(1)]),
  });
  const reader = await streams.attach(stream, 1, true);
  expect((await reader.next())?.event).toEqual(token("a", 1));
  expect((await reader.next())?.event).toEqual(complete(1));
  expect(await reader.next()).toBe(undefined);
  await reader.close();
  await streams.close();
});
