/** A store whose file cannot be written any more in mid-stream: streams go on, health says so. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { closeSync, openSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteStore } from "../../src/stream/stores/sqlite.ts";
import { complete, type Script, START, token } from "../support/mock_generator.ts";
import { ChunkReader, get, jsonOf, post } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

/** Byte of a SQLite file that says what may write it: 2 is every version of today, 3 is none. */
const WRITE_VERSION = 18;

/** Lets nobody write a file, those included who have it open; or whoever opens it from now on. */
function setWritable(path: string, isWritable: boolean): void {
  // Moves everything from the log into the file, so that the byte there counts.
  const database = new DatabaseSync(path);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
  const file = openSync(path, "r+");
  writeSync(file, new Uint8Array([isWritable ? 2 : 3]), 0, 1, WRITE_VERSION);
  closeSync(file);
}

/** A stream of which the first token was read; its second and third wait for a gate each. */
async function begin(path: string) {
  const second = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const script: Script = () => [
    START,
    token("a", 1),
    second.promise,
    token("b", 2),
    gate.promise,
    token("c", 3),
    complete(3),
  ];
  const store = new SqliteStore(path);
  const served = serve(script, { store });
  const response = await served.handler(post("/v1/stream", { prompt: "Hi" }));
  const chunks = new ChunkReader(response);
  await chunks.next();
  expect(await chunks.next()).toContain('"a"');
  const health = async () => (await jsonOf(served.handler, get("/health"))).body["status"];
  return {
    ...served,
    store,
    chunks,
    second,
    gate,
    health,
    id: response.headers.get("x-stream-id")!,
  };
}

/** Resolves once the condition holds. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!await condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-degraded-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("a SQLite file that becomes read-only in mid-stream", () => {
  it("ends no stream: it goes on with a notice, and is read again from memory", async () => {
    const path = join(folder, "ends_none.db");
    const { handler, failures, store, chunks, second, gate, health, id } = await begin(path);
    expect(await health()).toBe("ok");
    setWritable(path, false);
    second.resolve();
    expect(await chunks.next()).toMatch(/^: notice: not resumable after a restart/);
    expect(await chunks.next()).toContain('"b"');
    expect(await health()).toBe("degraded");
    expect(failures.map(String)).toEqual([expect.stringContaining("readonly database")]);
    gate.resolve();
    expect(await chunks.next()).toContain('"c"');
    expect(await chunks.next()).toContain("event: complete");
    const again = await whole(handler, get(`/v1/streams/${id}?from=1`));
    expect([...again.text.matchAll(/"token":"(.)"/g)].map(([, text]) => text)).toEqual(["b", "c"]);
    // New streams begin all the same, in memory alone, and say so.
    const next = await whole(handler, post("/v1/stream", { prompt: "Hi" }));
    expect(next.text).toContain(": notice: not resumable after a restart");
    expect(next.text).toContain("event: complete");
    await store[Symbol.asyncDispose]();
    setWritable(path, true);
    await using left = new SqliteStore(path);
    expect(await left.read(id, 0, 10)).toEqual([START, token("a", 1)]);
    expect(await left.find(next.id)).toBeUndefined();
  });
});

describe("a SQLite file that another program locks in mid-stream", () => {
  it("ends no stream, and has everything once it is free", async () => {
    const path = join(folder, "locked.db");
    const { store, chunks, second, gate, health, id, failures } = await begin(path);
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE");
    second.resolve();
    expect(await chunks.next()).toMatch(/^: notice: not resumable after a restart/);
    expect(await chunks.next()).toContain('"b"');
    expect(await health()).toBe("degraded");
    expect(failures.map(String)).toEqual([expect.stringContaining("database is locked")]);
    other.exec("ROLLBACK");
    other.close();
    await until(async () => await health() === "ok");
    gate.resolve();
    while (await chunks.next() !== undefined);
    const events = [START, token("a", 1), token("b", 2), token("c", 3), complete(3)];
    expect(await store.read(id, 0, 10)).toEqual(events);
    await store[Symbol.asyncDispose]();
  });
});
