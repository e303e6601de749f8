/** Two servers behind a plain rotation with one Redis over kill -9: nothing lost, nothing twice. */
import { expect, it } from "bun:test";
import { readOn, type Seen } from "../support/crash_client.ts";
import { CrashReplica } from "../support/crash_replica.ts";
import { describeWithRedis } from "../support/redis.ts";

const STREAMS = 4;
const READERS_PER_STREAM = 5;
const KILLS = 50;
const TOKENS = 3000;
const PAUSE_MS = 4;

/** Twenty readers of two replicas, one of which is killed now and then. */
async function killReplicas(store: string): Promise<Seen[]> {
  const settings = { store, tokens: TOKENS, pauseMs: PAUSE_MS };
  const start = (port = 0) => CrashReplica.start({ ...settings, port });
  const replicas = [await start(), await start()];
  let turn = 0;
  const next = (): string => replicas[turn++ % 2]!.url;
  const keys = Array.from({ length: STREAMS }, (_, i) => `stream ${i}`);
  const all = Promise.all(
    keys.flatMap((key) => Array.from({ length: READERS_PER_STREAM }, () => readOn(next, key))),
  );
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      // Long enough for one to take over from the other, and never the same.
      await new Promise((resolve) => setTimeout(resolve, 300 + (kill * 137) % 300));
      const { port } = replicas[kill % 2]!;
      await replicas[kill % 2]!.kill();
      replicas[kill % 2] = await start(port);
    }
    return await all;
  } finally {
    await Promise.all(replicas.map((replica) => replica.kill()));
  }
}

describeWithRedis("two replicas with one Redis", (redis) => {
  it(`lose nothing when one of them is killed, ${KILLS} times under 20 readers`, async () => {
    const seen = await killReplicas(redis().url);
    const positions = Array.from({ length: TOKENS }, (_, n) => n + 1);
    for (const [i, { events, ids }] of seen.entries()) {
      const first = seen[i - i % READERS_PER_STREAM]!;
      expect(ids).toEqual(first.ids);
      expect(events).toEqual(first.events);
      const tokens = events.slice(0, -1).map((data) => JSON.parse(data));
      expect(tokens.map(({ position }) => position)).toEqual(positions);
      // Made by many processes, one after the other.
      const makers = new Set(tokens.map(({ token }) => token.split(":")[0]));
      expect(makers.size).toBeGreaterThan(10);
    }
  }, 120_000);
});
