/** The entry of the store: a program's own tracker, followed while a store pulls. */
import { expect, it } from "bun:test";
import { existsSync } from "node:fs";
import { DownloadError, DownloadTracker, type ModelStore } from "../../src/store/mod.ts";
import { MockHub, Place, REF } from "./mock_hub.ts";

it("ModelStore tells whoever subscribes to its tracker, of all pulls or of one", async () => {
  await using hub = await MockHub.open();
  using place = new Place(hub);
  const tracker = new DownloadTracker({ readers: 2 });
  const store: ModelStore = place.store({ tracker });
  using all = tracker.subscribe();
  using other = store.subscribe("hf:owner/other");
  const { path } = await store.pull(REF);
  expect(existsSync(path)).toBe(true);
  await expect(store.pull("hf:owner/none")).rejects.toBeInstanceOf(DownloadError);
  const told: string[] = [];
  while (all.waiting > 0) told.push((await all.next())!.type);
  expect(told).toEqual(["started", "progress", "complete", "started", "error"]);
  expect(other.waiting).toBe(0);
  await store.stop();
  expect(await all.next()).toBe(undefined);
  expect(tracker.counts).toMatchObject({ running: 0, readers: 0, evicted: 0, refused: 0 });
});
