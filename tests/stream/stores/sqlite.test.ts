/** SqliteStore: the suite of every store, and what its file goes through. @module */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StreamConflictError } from "../../../src/stream/store.ts";
import { SqliteStore } from "../../../src/stream/stores/sqlite.ts";
import { eventsBefore, fill, newRecord, storeSuite, tokenAt } from "./store_suite.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-sqlite-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

storeSuite("SqliteStore", () => new SqliteStore(join(folder, "suite.db")));

/** Grows a stream until the file is full; gives how many events it has, and what was said. */
async function growUntilFull(store: SqliteStore, id: string): Promise<[number, unknown]> {
  for (let end = 1;; end += 8) {
    const events = Array.from({ length: 8 }, (_, i) => tokenAt(end + i));
    const failure = await store.append(id, end, events).catch((cause: unknown) => cause);
    if (failure !== undefined) return [end, failure];
  }
}

describe("SqliteStore", () => {
  test("finds everything when the file is opened again", async () => {
    const path = join(folder, "again.db");
    const before = new SqliteStore(path);
    const id = await fill(before, 4);
    await before.bind("someone", "key", id);
    const known = await before.find(id);
    await before[Symbol.asyncDispose]();
    await using store = new SqliteStore(path);
    expect(await store.find(id)).toEqual(known!);
    expect(await store.read(id, 0, 10)).toEqual(eventsBefore(4));
    expect(await store.unfinished()).toEqual([id]);
    expect(await store.bind("someone", "key", "other")).toBe(id);
    await store.append(id, 4, [tokenAt(4)]);
  });

  test("a second store on the same file reads along and is refused a taken place", async () => {
    const path = join(folder, "second.db");
    await using first = new SqliteStore(path);
    await using second = new SqliteStore(path);
    const id = await fill(first, 2);
    await second.append(id, 2, [tokenAt(2)]);
    await expect(first.append(id, 2, [tokenAt(2)])).rejects.toThrow(StreamConflictError);
    expect(await first.read(id, 0, 10)).toEqual(eventsBefore(3));
  });

  test("append() rejects with the cause while the file is full, and works again after", async () => {
    await using store = new SqliteStore(join(folder, "full.db"), { bytesMax: 128 << 10 });
    const [id, old] = [await fill(store, 1), await fill(store, 200)];
    const [end, failure] = await growUntilFull(store, id);
    expect(String(failure)).toMatch(/full/);
    expect(end).toBeGreaterThan(8);
    expect(await store.read(id, 0, 10_000)).toEqual(eventsBefore(end));
    await expect(store.append(id, end, eventsBefore(20).slice(1))).rejects.toThrow(/full/);
    await store.remove(old);
    await store.append(id, end, [tokenAt(end), tokenAt(end + 1)]);
    expect(await store.find(id)).toMatchObject({ end: end + 2, ended: false });
  });

  test("append() rejects where the file may only be read, and nothing is lost", async () => {
    const path = join(folder, "readonly.db");
    await using writer = new SqliteStore(path);
    const id = await fill(writer, 3);
    await using store = new SqliteStore(`file:${path}?mode=ro`);
    await expect(store.append(id, 3, [tokenAt(3)])).rejects.toThrow(/readonly/);
    await expect(store.append(id, 3, [tokenAt(3), tokenAt(4)])).rejects.toThrow(/readonly/);
    await expect(store.create(newRecord())).rejects.toThrow(/readonly/);
    expect(await store.read(id, 0, 10)).toEqual(eventsBefore(3));
    await writer.append(id, 3, [tokenAt(3)]);
    expect(await store.read(id, 3, 10)).toEqual([tokenAt(3)]);
  });

  test("says which file it cannot open", () => {
    expect(() => new SqliteStore(join(folder, "missing", "x.db"))).toThrow(
      /Cannot open the stream store ".*x\.db": .*, expected a file that SQLite can write/,
    );
  });
});
