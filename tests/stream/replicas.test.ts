/** Two servers with one Redis: it is paused, restarted, emptied; one ends what the other makes. */
import { expect, it } from "bun:test";
import type { Change } from "../../src/engine/steering.ts";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { SseParser } from "../../src/stream/sse.ts";
import { RedisStore } from "../../src/stream/stores/redis.ts";
import { CrashReplica } from "../support/crash_replica.ts";
import {
  complete,
  endless,
  MockGenerator,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { describeWithRedis } from "../support/redis.ts";
import { get, post } from "../support/requests.ts";

const BODY = { prompt: "Hi", on_disconnect: "pause" };
const LOCAL = { host: "localhost" };
const PAUSE_MS = 10_000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function paced(n: number): Script {
  return function* ({ resume }) {
    yield START;
    for (let seq = (resume?.seq ?? 0) + 1; seq <= n; seq++) {
      yield sleep(10);
      yield token(`t${seq} `, seq);
    }
    yield usage(n);
    yield complete(n);
  };
}

/** A replica in this process. */
async function replica(
  url: string,
  script: Script,
): Promise<{ mock: MockGenerator; handler: Handler }> {
  const mock = new MockGenerator(script);
  const handler = createHandler(mock, {
    store: await RedisStore.connect(url),
    streams: { leaseMs: 4000, storeTimeoutMs: 100 },
    keepAliveMs: 0,
    onError: () => undefined,
  });
  return { mock, handler };
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

/** One stream of so many tokens, read where it is made and elsewhere, while Redis is struck. */
async function readThrough(url: string, tokens: number, strike: () => Promise<void>) {
  const [home, away] = [await replica(url, paced(tokens)), await replica(url, paced(tokens))];
  const made = await home.handler(post("/v1/stream", BODY, LOCAL));
  const id = made.headers.get("x-stream-id");
  const near = read(made);
  await sleep(200);
  const far = read(await away.handler(get(`/v1/streams/${id}`, LOCAL)));
  await sleep(300);
  await strike();
  const ends = { near: await near, far: await far };
  const { status } = await away.handler(get(`/v1/streams/${id}?from=5`));
  await Promise.all([home.handler.drain(), away.handler.drain()]);
  return { ...ends, status };
}

/** A stream that computes its first token for ever, read where it is made and elsewhere. */
async function readStuck(url: string) {
  const script = endless(() => new Promise(() => undefined));
  const [home, away] = [await replica(url, script), await replica(url, script)];
  const made = await home.handler(post("/v1/stream", BODY, LOCAL));
  const id = made.headers.get("x-stream-id");
  const far = read(await away.handler(get(`/v1/streams/${id}`, LOCAL)));
  return { home, away, id, near: read(made), far };
}

/** What one replica is told about a stream that the other makes. */
function controlCases(url: () => string): void {
  it("stop a stream that the other computes, and all readers get the end", async () => {
    const { home, away, id, near, far } = await readStuck(url());
    expect((await away.handler(get(`/v1/streams/${id}`, {}, "DELETE"))).status).toBe(204);
    await home.mock.until(() => home.mock.aborted === 1);
    const ends = [await near, await far];
    expect(ends[0]!.data).toEqual([expect.stringContaining('"completed_normally":false')]);
    expect(ends[1]!.data).toEqual(ends[0]!.data);
    expect(away.mock.requests.length).toBe(0);
    await Promise.all([home.handler.drain(), away.handler.drain()]);
  });

  it("change a stream that the other computes", async () => {
    const { home, away, id, near, far } = await readStuck(url());
    const changed = Promise.withResolvers<Change>();
    home.mock.steering!.listen(changed.resolve);
    const path = `/v1/streams/${id}/control`;
    const extended = await away.handler(post(path, { action: "extend", max_tokens: 9 }));
    expect(extended.status).toBe(200);
    expect(await changed.promise).toEqual({ maxTokens: 9 });
    expect((await away.handler(post(path, { action: "stop" }))).status).toBe(200);
    await Promise.all([near, far]);
    const late = await away.handler(post(path, { action: "extend", max_tokens: 10 }));
    expect(late.status).toBe(409);
    await Promise.all([home.handler.drain(), away.handler.drain()]);
  });

  it("end a stream whose maker was killed, when they are told to stop it", async () => {
    const lost = await CrashReplica.start({ port: 0, store: url(), tokens: 1e6, pauseMs: 5 });
    const made = await fetch(`${lost.url}/v1/stream`, {
      method: "POST",
      body: JSON.stringify(BODY),
    });
    const id = made.headers.get("x-stream-id");
    await made.body!.getReader().read();
    await lost.kill();
    const { handler, mock } = await replica(url(), paced(1e6));
    expect((await handler(get(`/v1/streams/${id}`, {}, "DELETE"))).status).toBe(204);
    const { data } = await read(await handler(get(`/v1/streams/${id}`, LOCAL)));
    expect(data.at(-1)).toContain('"completed_normally":false');
    expect(mock).toMatchObject({ active: 0, aborted: 1 });
    await handler.drain();
  });
}

describeWithRedis("two replicas with one Redis", (redis) => {
  it(`disturb no reader while Redis is paused for ${PAUSE_MS} ms`, async () => {
    const { near, far } = await readThrough(redis().url, 1500, async () => {
      redis().pause();
      await sleep(PAUSE_MS);
      redis().resume();
    });
    expect(near.data.length).toBe(1501);
    expect(near.silenceMs).toBeLessThan(1000);
    expect(far.data).toEqual(near.data);
  }, 60_000);

  it("disturb no reader while Redis is killed and started again", async () => {
    const { near, far } = await readThrough(redis().url, 300, async () => {
      await redis().stop();
      await sleep(300);
      await redis().start();
    });
    expect(near.data.length).toBe(301);
    expect(near.silenceMs).toBeLessThan(1000);
    expect(far.data).toEqual(near.data);
  }, 60_000);

  it("tell the readers elsewhere where Redis is emptied, and disturb none at home", async () => {
    const { near, far, status } = await readThrough(redis().url, 300, async () => {
      await redis().ask("FLUSHALL");
    });
    expect(near.data.length).toBe(301);
    expect(near.silenceMs).toBeLessThan(1000);
    // What they got is right, and then they are told.
    expect(far.data.slice(0, -1)).toEqual(near.data.slice(0, far.data.length - 1));
    expect(far.data.at(-1)).toContain("error_type");
    expect(status).toBe(410);
  }, 60_000);

  controlCases(() => redis().url);
});
