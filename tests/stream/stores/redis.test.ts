/** RedisStore: the suite of every store, and what its server goes through. @module */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { SluiceError } from "../../../src/errors.ts";
import { StreamConflictError } from "../../../src/stream/store.ts";
import { StreamHoleError } from "../../../src/stream/stores/hole.ts";
import { RedisStore } from "../../../src/stream/stores/redis.ts";
import { HAS_REDIS, RedisServer } from "./redis_server.ts";
import { eventsBefore, fill, newRecord, storeSuite, tokenAt, until } from "./store_suite.ts";

/** Longest that a command may take, and what a busy machine adds. */
const PROMPT_MS = 1000 + 700;

/** What a promise rejects with and after how many milliseconds. */
async function rejection(promise: Promise<unknown>): Promise<{ failure: unknown; ms: number }> {
  const before = performance.now();
  const failure = await promise.then(
    () => "nothing was rejected",
    (cause: unknown) => cause,
  );
  return { failure, ms: performance.now() - before };
}

const needs = HAS_REDIS ? "" : " (needs redis-server)";

describe.skipIf(!HAS_REDIS)(`a Redis server${needs}`, () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  storeSuite("RedisStore", () => RedisStore.connect(server.url));
  keyCases(() => server);
  faultCases(() => server);
});

function keyCases(server: () => RedisServer): void {
  test("RedisStore gives every key an age", async () => {
    await server().ask("FLUSHALL");
    await using store = await RedisStore.connect(server().url, { ageMs: 50_000 });
    const id = await fill(store, 3);
    await store.bind("someone", "key", id);
    await store.claim(id, "a", 40_000);
    await store.demand(id, { upTo: 7, changes: [1] });
    const keys = (await server().ask("KEYS *")).match(/sluice:.*/g)!.map((key) => key.trim());
    expect(keys.sort()).toEqual([
      "sluice:key:someone:key",
      "sluice:streams",
      "sluice:unfinished",
      ...["changes", "demand", "events", "keys", "lease", "record"].map((part) =>
        `sluice:{${id}}:${part}`
      ),
    ].sort());
    for (const key of keys) {
      const age = Number((await server().ask(`PTTL ${key}`)).slice(1));
      expect([key, age > 10_000 && age <= 50_000]).toEqual([key, true]);
    }
    await store.remove(id);
    expect(await server().ask("KEYS *")).toBe("*0");
  });

  test("RedisStore forgets a stream that is older than ageMs", async () => {
    await using store = await RedisStore.connect(server().url, { ageMs: 80 });
    const id = await fill(store, 3);
    await until(async () => await store.find(id) === undefined);
    await expect(store.append(id, 3, [tokenAt(3)])).rejects.toThrow(StreamHoleError);
    expect(await store.unfinished()).not.toContain(id);
  });

  test("RedisStore.connect() refuses what it cannot use and shows no password", async () => {
    const { url } = server();
    const away = await rejection(RedisStore.connect("redis://me:secret@127.0.0.1:1"));
    expect(String(away.failure)).toMatch(
      /Cannot use the stream store redis:\/\/127\.0\.0\.1:1: .*ECONNREFUSED.*, expected a server/,
    );
    expect(away.ms).toBeLessThan(PROMPT_MS);
    for (
      const connect of [
        RedisStore.connect("http://me:secret@localhost"),
        RedisStore.connect("secret"),
        RedisStore.connect(url, { ageMs: 0 }),
      ]
    ) {
      const { failure } = await rejection(connect);
      expect(failure).toBeInstanceOf(SluiceError);
      expect(failure).toMatchObject({ code: "invalid_option" });
      expect(String(failure)).not.toContain("secret");
    }
  });

  test("RedisStore rejects everything once it is disposed, waits too", async () => {
    const store = await RedisStore.connect(server().url);
    const id = await fill(store, 1);
    const waited = rejection(store.wait(id, 1, 60_000));
    await store.find(id);
    await store[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    expect((await waited).failure).toMatchObject({ code: "disposed" });
    for (const call of [store.find(id), store.wait(id, 1, 60_000), store.claim(id, "a", 1)]) {
      expect((await rejection(call)).failure).toMatchObject({ code: "disposed" });
    }
  });
}

function faultCases(server: () => RedisServer): void {
  test("RedisStore rejects promptly while its server is away, then goes on", async () => {
    await using store = await RedisStore.connect(server().url);
    const id = await fill(store, 3);
    const waited = rejection(store.wait(id, 3, 60_000));
    await store.find(id);
    await server().stop();
    expect((await waited).ms).toBeLessThan(PROMPT_MS);
    for (let i = 0; i < 20; i++) {
      const { failure, ms } = await rejection(store.append(id, 3, [tokenAt(3)]));
      expect(failure).toMatchObject({ code: "store_error" });
      expect(ms).toBeLessThan(PROMPT_MS);
    }
    const { failure, ms } = await rejection(store.wait(id, 3, 60_000));
    expect(failure).toMatchObject({ code: "store_error" });
    expect(ms).toBeLessThan(PROMPT_MS);
    await server().start();
    await until(async () => await store.find(id) !== undefined);
    // What was rejected came to nothing, and what was kept is there.
    expect(await store.read(id, 0, 10)).toEqual(eventsBefore(3));
    await store.append(id, 3, [tokenAt(3)]);
    await store.wait(id, 3, 60_000);
    expect(await store.unfinished()).toContain(id);
  });

  test("RedisStore refuses to go on with a stream that FLUSHALL took", async () => {
    await using store = await RedisStore.connect(server().url);
    const [id, started] = [await fill(store, 3), newRecord()];
    await store.create(started);
    await server().ask("FLUSHALL");
    for (const [lost, seq] of [[id, 3], [started.id, 0]] as const) {
      await expect(store.append(lost, seq, [tokenAt(3)])).rejects.toThrow(StreamHoleError);
      expect(await store.find(lost)).toBeUndefined();
      expect(await store.read(lost, 0, 10)).toEqual([]);
    }
    expect(await store.unfinished()).toEqual([]);
    await store.create(started);
    await store.append(started.id, 0, eventsBefore(2));
    await expect(store.append(started.id, 1, [tokenAt(1)])).rejects.toThrow(StreamConflictError);
  });

  test("RedisStore keeps each event once across a server that stops for 2 s", async () => {
    await using store = await RedisStore.connect(server().url);
    const id = await fill(store, 3);
    server().pause();
    try {
      const end = performance.now() + 2000;
      do {
        const { failure, ms } = await rejection(store.append(id, 3, [tokenAt(3)]));
        expect(failure).toMatchObject({ code: "store_error" });
        expect(ms).toBeLessThan(PROMPT_MS);
        const waited = await rejection(store.wait(id, 3, 50));
        expect(waited.failure).toMatchObject({ code: "store_error" });
        expect(waited.ms).toBeLessThan(PROMPT_MS);
      } while (performance.now() < end);
    } finally {
      server().resume();
    }
    // The append arrives late, or again: in both ways there is one.
    await until(async () => {
      const { failure } = await rejection(store.append(id, 3, [tokenAt(3)]));
      return failure instanceof StreamConflictError;
    });
    expect(await store.read(id, 0, 10)).toEqual(eventsBefore(4));
    await store.append(id, 4, [tokenAt(4)]);
    await store.wait(id, 4, 60_000);
  });
}
