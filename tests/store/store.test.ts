import { describe, expect, it } from "bun:test";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { RequestError } from "../../src/errors.ts";
import { knownModels } from "../../src/store/reference.ts";
import { ModelStore } from "../../src/store/store.ts";
import type { DownloadEvent } from "../../src/store/tracker.ts";
import { COMMIT, FILE, MockHub, Place, REF, refusalOf, REPO } from "./mock_hub.ts";

describe("ModelStore.pull()", () => {
  it("lays a model out as Hugging Face's own tools do, and leaves nothing else", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const { path, id } = await place.store().pull(REF);
    expect(path).toBe(join(place.repo, "snapshots", COMMIT, FILE));
    expect(id).toBe("tiny-Q8_0");
    expect(readlinkSync(path)).toBe(`../../blobs/${hub.sha256}`);
    expect(readFileSync(join(place.repo, "refs", "main"), "utf8")).toBe(COMMIT);
    expect(place.blobs).toEqual([hub.sha256]);
    const hash = createHash("sha256").update(readFileSync(path)).digest("hex");
    expect(hash).toBe(hub.sha256);
    expect(hub.asked.map((asked) => asked.path)).toEqual([`/${REPO}/resolve/${COMMIT}/${FILE}`]);
  });

  it("fetches no content twice, also not one that another tool has fetched", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    mkdirSync(join(place.repo, "blobs"), { recursive: true });
    writeFileSync(join(place.repo, "blobs", hub.sha256), hub.content);
    const { path } = await place.store().pull(`${REF}:Q8_0`);
    expect(await place.store().pull(`${REF}/${FILE}`)).toEqual({ path, id: "tiny-Q8_0" });
    expect(realpathSync(path)).toBe(realpathSync(join(place.repo, "blobs", hub.sha256)));
    expect(hub.asked).toEqual([]);
  });

  it("follows the repository to a new commit", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const first = await place.store().pull(REF);
    hub.commit = COMMIT.replace("0", "f");
    const second = await place.store().pull(REF);
    expect(second.path).toBe(first.path.replace(COMMIT, hub.commit));
    expect(readFileSync(join(place.repo, "refs", "main"), "utf8")).toBe(hub.commit);
    expect(hub.asked.length).toBe(1);
  });

  it("pulls once for all who ask at the same time", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const store = place.store();
    const [one, other] = await Promise.all([store.pull(REF), store.pull(REF)]);
    expect(one).toBe(other);
    expect(hub.asked.length).toBe(1);
  });

  it("refuses more pulls at once than are allowed, until one has ended", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const store = place.store({ pulls: 1 });
    const first = store.pull(REF);
    expect(await refusalOf(store.pull(`${REF}:Q8_0`))).toContain("1 pulls run and no more may");
    await first;
    await store.pull(`${REF}:Q8_0`);
  });

  it("says which files there are where a name can be several, and fetches none", async () => {
    await using hub = await MockHub.open();
    hub.files = ["a-Q8_0.gguf", "b-Q8_0.gguf"];
    using place = new Place(hub);
    expect(await refusalOf(place.store().pull(`${REF}:Q8_0`))).toBe(
      'Cannot find the model "hf:owner/tiny:Q8_0": it can be several files, name one as ' +
        "hf:owner/repo/FILE: a-Q8_0.gguf, b-Q8_0.gguf",
    );
    expect(hub.asked).toEqual([]);
  });

  it("takes no file name from the hub that would leave the cache", async () => {
    await using hub = await MockHub.open();
    hub.files = ["/etc/x-Q8_0.gguf", "a\\b-Q8_0.gguf", "a/../../b-Q8_0.gguf"];
    using place = new Place(hub);
    expect(await refusalOf(place.store().pull(REF))).toContain("it has no GGUF file");
  });

  it("brings the default model by the set-up, and believes it only with the file", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const purposes: string[] = [];
    const half = (purpose: string) => Promise.resolve(void purposes.push(purpose));
    expect(await refusalOf(place.store({ setUp: half }).pull("smollm2"))).toBe(
      'Cannot pull "smollm2": the set-up left no whole file, run it again',
    );
    expect(purposes).toEqual(['pull "smollm2"']);
    const { file = "", bytes = 0 } = knownModels.smollm2 ?? {};
    const path = join(place.folder, "models", file);
    const setUp = () => {
      mkdirSync(join(place.folder, "models"));
      writeFileSync(path, "");
      truncateSync(path, bytes);
      return Promise.resolve();
    };
    const store = place.store({ setUp });
    expect(await store.pull("smollm2")).toEqual({ path, id: "smollm2" });
    expect(store.list()).toEqual([{ ref: "smollm2", bytes, path }]);
  });

  it("finds a path where it is", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const path = join(place.folder, "mine.gguf");
    writeFileSync(path, "");
    expect(await place.store().pull(path)).toEqual({ path, id: "mine" });
    expect(hub.all).toEqual([]);
  });
});

describe("ModelStore.tracker", () => {
  it("tells the start, every piece and the end of a pull", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ pieces: 100_000 });
    using place = new Place(hub);
    const store = place.store();
    const reader = store.subscribe();
    const events: DownloadEvent[] = [];
    const pulled = store.pull(REF);
    for (let event = await reader.next(); event; event = await reader.next()) {
      events.push(event);
      if (event.type === "complete") break;
    }
    await pulled;
    expect(events[0]).toEqual({ type: "started", modelRef: REF });
    const progress = events.slice(1, -1);
    expect(progress.length).toBeGreaterThan(1);
    expect(progress.at(-1)).toEqual({
      type: "progress",
      modelRef: REF,
      bytes: 300_000,
      total: 300_000,
    });
    expect(store.tracker.counts).toMatchObject({ running: 0, readers: 1 });
  });

  it("tells why a pull has failed, without a path of this machine", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    writeFileSync(join(place.folder, "hub"), "a file where a folder must be");
    const store = place.store();
    const reader = store.subscribe();
    store.begin(REF);
    expect(await reader.next()).toEqual({ type: "started", modelRef: REF });
    const end = await reader.next();
    expect(end?.type).toBe("error");
    const message = end?.type === "error" ? end.message : "";
    expect(message).toMatch(/^Cannot pull "hf:owner\/tiny": the model cache cannot be written \(E/);
    expect(message).not.toContain(place.folder);
  });
});

describe("ModelStore.begin()", () => {
  it.each([["/etc/passwd"], ["tiny.gguf"], ["hf:owner"], ["hf:../x"], [""]])(
    "refuses %j, which is no model of the hub",
    async (ref) => {
      await using hub = await MockHub.open();
      using place = new Place(hub);
      expect(() => place.store().begin(ref)).toThrow(RequestError);
    },
  );
});

describe("ModelStore.list()", () => {
  it("lists what is whole, by the reference that loads it", async () => {
    await using hub = await MockHub.open();
    hub.files = ["b-Q8_0.gguf", "sub/a-Q4_0.gguf"];
    using place = new Place(hub);
    const store = place.store();
    expect(store.list()).toEqual([]);
    await store.pull(`${REF}/sub/a-Q4_0.gguf`);
    const { path } = await store.pull(`${REF}:Q8_0`);
    const listed = store.list();
    expect(listed.map(({ ref, bytes }) => [ref, bytes])).toEqual([
      [`${REF}/b-Q8_0.gguf`, 300_000],
      [`${REF}/sub/a-Q4_0.gguf`, 300_000],
    ]);
    expect(listed[0]?.path).toBe(path);
    // A name whose content is gone is no model.
    rmSync(join(place.repo, "blobs", hub.sha256));
    expect(store.list()).toEqual([]);
  });
});

describe("ModelStore.stop()", () => {
  it("ends a pull with its part kept, and every reader", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ hangAfter: 100_000 });
    using place = new Place(hub);
    const store = place.store();
    const reader = store.subscribe();
    const refusal = refusalOf(store.pull(REF));
    for (let event = await reader.next(); event; event = await reader.next()) {
      if (event.type === "progress" && event.bytes === 100_000) break;
    }
    await store.stop();
    expect(await refusal).toBe("Cannot go on: it was stopped");
    expect(await reader.next()).toBeUndefined();
    expect(place.blobs).toEqual([`${hub.sha256}.sluice`, `${hub.sha256}.sluice.etag`]);
    await place.store().pull(REF);
    expect(hub.ranges).toEqual(["all", "bytes=100000-"]);
  });
});

it("nothing is written, asked or opened by making a store", async () => {
  await using hub = await MockHub.open();
  using place = new Place(hub);
  new ModelStore({ env: place.env });
  expect(existsSync(join(place.folder, "hub"))).toBe(false);
  expect(hub.all).toEqual([]);
});
