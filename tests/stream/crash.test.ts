/** Streams over kill -9: nothing lost, nothing twice, no persisted token changed. */
import { describe, expect, it } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteStore } from "../../src/stream/stores/sqlite.ts";
import { readOn } from "../support/crash_client.ts";
import { CrashReplica } from "../support/crash_replica.ts";

const STREAMS = 4;
const READERS_PER_STREAM = 5;
const KILLS = 50;
const TOKENS = 3000;
const PAUSE_MS = 3;

describe("a stream in SQLite", () => {
  it(`survives kill -9 of its server ${KILLS} times under 20 readers`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-crash-"));
    const path = join(folder, "streams.db");
    const settings = { store: `sqlite:${path}`, tokens: TOKENS, pauseMs: PAUSE_MS };
    let server = await CrashReplica.start({ ...settings, port: 0 });
    const { port, url } = server;
    const keys = Array.from({ length: STREAMS }, (_, i) => `stream ${i}`);
    const readers = keys.flatMap((key) =>
      Array.from(
        { length: READERS_PER_STREAM },
        () => readOn(() => url, key),
      )
    );
    const all = Promise.all(readers);
    try {
      for (let kill = 0; kill < KILLS; kill++) {
        // Long enough for some tokens, and never the same.
        await new Promise((resolve) => setTimeout(resolve, 60 + (kill * 37) % 90));
        await server.kill();
        server = await CrashReplica.start({ ...settings, port });
      }
      const seen = await all;
      for (const [i, { events, ids }] of seen.entries()) {
        const first = seen[i - i % READERS_PER_STREAM]!;
        // The same ids and bytes for every reader of a stream, in order, each once.
        expect(ids).toEqual(first.ids);
        expect(events).toEqual(first.events);
        expect(ids.length).toBe(TOKENS + 1);
        const positions = events.slice(0, -1).map((data) => JSON.parse(data).position as number);
        expect(positions).toEqual(Array.from({ length: TOKENS }, (_, n) => n + 1));
      }
      expect(Math.max(...seen.map(({ connections }) => connections))).toBeGreaterThan(KILLS / 2);
      // What is kept is what was sent, by many processes.
      await using store = new SqliteStore(path);
      const id = seen[0]!.ids[0]!.split(":")[0]!;
      const kept = await store.read(id, 1, TOKENS);
      const sent = seen[0]!.events.slice(0, -1).map((data) => JSON.parse(data).token as string);
      expect(kept.map((event) => event.type === "token" && event.text)).toEqual(sent);
      expect(new Set(sent.map((text) => text.split(":")[0])).size).toBeGreaterThan(10);
    } finally {
      await server.kill();
      await rm(folder, { recursive: true });
    }
  }, 180_000);
});
