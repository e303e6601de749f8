/** Two servers behind a plain rotation with one Redis: killed, paused, restarted, emptied. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { SseParser } from "../../src/stream/sse.ts";
import { RedisStore } from "../../src/stream/stores/redis.ts";
import { readOn, type Seen } from "../support/crash_client.ts";
import {
  complete,
  MockGenerator,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { get, post } from "../support/requests.ts";
import { HAS_REDIS, RedisServer } from "./stores/redis_server.ts";

const program = fileURLToPath(new URL("../support/crash_server.ts", import.meta.url));
const offline = fileURLToPath(new URL("../../deno.offline.json", import.meta.url));
const inDeno = ["run", "-A", "--no-check", `--config=${offline}`, program];

const STREAMS = 4;
const READERS_PER_STREAM = 5;
const KILLS = 6;
const TOKENS = 1200;
const PAUSE_MS = 4;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A replica in a process of its own, with the port that it says. */
async function startReplica(
  port: number,
  url: string,
): Promise<{ child: ChildProcess; port: number }> {
  const args = [...("Deno" in globalThis ? inDeno : [program]), port, url, TOKENS, PAUSE_MS];
  const child = spawn(process.execPath, args.map(String), { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await once(child.stdout!, "data") as [Uint8Array];
  return { child, port: Number(new TextDecoder().decode(line)) };
}

/** Twenty readers of two replicas, one of which is killed now and then. */
async function killReplicas(url: string): Promise<Seen[]> {
  const replicas = await Promise.all([startReplica(0, url), startReplica(0, url)]);
  let turn = 0;
  const next = (): string => `http://127.0.0.1:${replicas[turn++ % 2]!.port}`;
  const keys = Array.from({ length: STREAMS }, (_, i) => `stream ${i}`);
  const all = Promise.all(
    keys.flatMap((key) => Array.from({ length: READERS_PER_STREAM }, () => readOn(next, key))),
  );
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(500 + (kill * 137) % 300);
      const { child, port } = replicas[kill % 2]!;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
      replicas[kill % 2] = await startReplica(port, url);
    }
    return await all;
  } finally {
    for (const { child } of replicas) child.kill("SIGKILL");
  }
}

const paced: Script = function* ({ resume }) {
  yield START;
  for (let seq = (resume?.seq ?? 0) + 1; seq <= 300; seq++) {
    yield sleep(10);
    yield token(`t${seq} `, seq);
  }
  yield usage(300);
  yield complete(300);
};

/** A replica in this process. */
async function replica(url: string): Promise<Handler> {
  return createHandler(new MockGenerator(paced), {
    store: await RedisStore.connect(url),
    streams: { leaseMs: 4000, storeTimeoutMs: 100 },
    keepAliveMs: 0,
    onError: () => undefined,
  });
}

interface Read {
  /** Data of all events, in order. */
  data: string[];
  /** The longest time between two of them. */
  silenceMs: number;
}

async function read(response: Response): Promise<Read> {
  const parser = new SseParser();
  const data: string[] = [];
  let silenceMs = 0;
  let last = performance.now();
  for await (const bytes of response.body!) {
    for (const message of parser.push(bytes)) {
      if (message.data === undefined) continue;
      silenceMs = Math.max(silenceMs, performance.now() - last);
      last = performance.now();
      data.push(message.data);
    }
  }
  return { data, silenceMs };
}

/** One stream, read where it is made and elsewhere, while something happens to Redis. */
async function readThrough(url: string, strike: () => Promise<void>) {
  const [home, away] = [await replica(url), await replica(url)];
  const body = { prompt: "Hi", on_disconnect: "pause" };
  const made = await home(post("/v1/stream", body, { host: "localhost" }));
  const id = made.headers.get("x-stream-id");
  const near = read(made);
  await sleep(200);
  const far = read(await away(get(`/v1/streams/${id}`, { host: "localhost" })));
  await sleep(300);
  await strike();
  const ends = { near: await near, far: await far };
  const { status } = await away(get(`/v1/streams/${id}?from=5`));
  await Promise.all([home.drain(), away.drain()]);
  return { ...ends, status };
}

const group = HAS_REDIS ? describe : describe.skip;
const reason = HAS_REDIS ? "" : " (needs redis-server)";

group(`two replicas with one Redis${reason}`, () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(async () => {
    await redis[Symbol.asyncDispose]();
  });

  it(`lose nothing when one of them is killed, ${KILLS} times under 20 readers`, async () => {
    const seen = await killReplicas(redis.url);
    const positions = Array.from({ length: TOKENS }, (_, n) => n + 1);
    const makers = new Set<string>();
    for (const [i, { events, ids }] of seen.entries()) {
      const first = seen[i - i % READERS_PER_STREAM]!;
      expect(ids).toEqual(first.ids);
      expect(events).toEqual(first.events);
      const tokens = events.slice(0, -1).map((data) => JSON.parse(data));
      expect(tokens.map(({ position }) => position)).toEqual(positions);
      for (const { token } of tokens) makers.add(token.split(":")[0]);
    }
    expect(makers.size).toBeGreaterThan(2);
  }, 120_000);

  it("disturb no reader while Redis is paused", async () => {
    const { near, far } = await readThrough(redis.url, async () => {
      redis.pause();
      await sleep(2000);
      redis.resume();
    });
    expect(near.data.length).toBe(301);
    expect(near.silenceMs).toBeLessThan(1000);
    expect(far.data).toEqual(near.data);
  }, 60_000);

  it("disturb no reader while Redis is killed and started again", async () => {
    const { near, far } = await readThrough(redis.url, async () => {
      await redis.stop();
      await sleep(300);
      await redis.start();
    });
    expect(near.data.length).toBe(301);
    expect(near.silenceMs).toBeLessThan(1000);
    expect(far.data).toEqual(near.data);
  }, 60_000);

  it("tell the readers elsewhere where Redis is emptied, and disturb none at home", async () => {
    const { near, far, status } = await readThrough(redis.url, async () => {
      await redis.ask("FLUSHALL");
    });
    expect(near.data.length).toBe(301);
    expect(near.silenceMs).toBeLessThan(1000);
    // What they got is right, and then they are told.
    expect(far.data.slice(0, -1)).toEqual(near.data.slice(0, far.data.length - 1));
    expect(far.data.at(-1)).toContain("error_type");
    expect(status).toBe(410);
  }, 60_000);
});
