/** eventStream(): pulled, pinged, ended once, and gone when its reader goes. */
import { describe, expect, it } from "bun:test";
import type { Dialect, Encode } from "../../src/server/dialect.ts";
import { native } from "../../src/server/dialects/native.ts";
import { eventStream } from "../../src/server/event_stream.ts";
import { Run } from "../../src/server/run.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { readRun } from "../support/read_run.ts";
import { ChunkReader } from "../support/requests.ts";
import { watchTimers } from "../support/timers.ts";

const PREAMBLE = "retry: 3000\n: ok\n\n";
const PING = ": ping\n\n";

/** What an event is called, one message for each. */
const name: Encode = (event) => [{ data: event.type }];

function encoderOf(dialect: Dialect): Encode {
  const exchange = dialect.generates[0]?.accept({ prompt: "Hi" }, {
    model: new MockGenerator().model,
    id: "0",
    created: 0,
  });
  if (exchange?.stream !== true) throw new TypeError("The dialect does not stream");
  return exchange.encoder();
}

async function open(script: Script, { encode = name, keepAliveMs = 0 } = {}) {
  const mock = new MockGenerator(script);
  const reported: unknown[] = [];
  const report = (failure: unknown): void => void reported.push(failure);
  const run = await Run.begin(mock, {}, report);
  const stream = eventStream({ reader: readRun(run), encode, keepAliveMs, report });
  return { mock, run, reported, chunks: new ChunkReader(new Response(stream)) };
}

async function rest(chunks: ChunkReader): Promise<string[]> {
  const all: string[] = [];
  for (let chunk = await chunks.next(); chunk !== undefined; chunk = await chunks.next()) {
    all.push(chunk);
  }
  return all;
}

describe("eventStream()", () => {
  it("gives the preamble and the start before the model has answered", async () => {
    const { mock, chunks } = await open(endless(() => new Promise(() => undefined)));
    expect(await chunks.next()).toBe(PREAMBLE);
    expect(await chunks.next()).toBe("data: start\n\n");
    expect(mock.events).toBe(1);
    await chunks.cancel();
  });

  it("gives every message in a chunk of its own", async () => {
    const encode: Encode = ({ type }) => [{ data: `${type} 1` }, { event: "x", data: "2\n3" }];
    const { chunks } = await open(() => [START, complete(0)], { encode });
    expect(await rest(chunks)).toEqual([
      PREAMBLE,
      "data: start 1\n\n",
      "event: x\ndata: 2\ndata: 3\n\n",
      "data: complete 1\n\n",
      "event: x\ndata: 2\ndata: 3\n\n",
    ]);
  });

  it("goes on over events that have no message", async () => {
    const encode = encoderOf(native);
    const script: Script = () => [START, usage(0), usage(0), token("x", 1), usage(1), complete(1)];
    const { chunks } = await open(script, { encode });
    const all = await rest(chunks);
    expect(all.map((chunk) => chunk.split("\n")[0])).toEqual([
      "retry: 3000",
      "event: token",
      "event: complete",
    ]);
  });

  it("computes nothing that was not asked for", async () => {
    const { mock, chunks } = await open(endless());
    for (let i = 0; i < 5; i++) await chunks.next();
    // Preamble and start were there; three tokens were read.
    expect(mock.events).toBe(1 + 3);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(mock.events).toBe(1 + 3);
    await chunks.cancel();
  });

  it("returns the generator after the terminal event, and reads nothing behind it", async () => {
    const script: Script = () => [START, complete(0), token("x", 1), complete(0)];
    const { mock, run, chunks } = await open(script);
    expect(await rest(chunks)).toEqual([PREAMBLE, "data: start\n\n", "data: complete\n\n"]);
    await run.over;
    expect(mock).toMatchObject({ active: 0, finished: 1, events: 2, aborted: 0 });
  });

  it("says an error where the generator ends without a terminal event", async () => {
    const { chunks, reported } = await open(() => [START, token("x", 1)]);
    expect((await rest(chunks)).at(-1)).toBe("data: error\n\n");
    expect(String(reported[0])).toContain("ended without saying how");
  });

  it("says an error where the generator throws, and not what it threw", async () => {
    const error = new Error("secret");
    const script: Script = () => [START, token("x", 1), error];
    const { chunks, reported } = await open(script, { encode: encoderOf(native) });
    const all = await rest(chunks);
    expect(all.at(-1)).toContain('event: error\ndata: {"error_type":"internal"');
    expect(all.join("")).not.toContain("secret");
    expect(reported).toEqual([error]);
  });

  it("cancels the run where a dialect throws", async () => {
    const encode: Encode = ({ type }) => {
      if (type === "token") throw new TypeError("broken dialect");
      return [];
    };
    const { mock, chunks, reported } = await open(endless(), { encode });
    await expect(rest(chunks)).rejects.toThrow("broken dialect");
    expect(reported.length).toBe(1);
    expect(mock.active).toBe(0);
  });

  it("reports what the end of a generator throws, and ends all the same", async () => {
    const error = new Error("clean-up failed");
    const script: Script = function* () {
      try {
        yield START;
        yield complete(0);
        yield complete(0);
      } finally {
        // deno-lint-ignore no-unsafe-finally -- the fault under test
        throw error;
      }
    };
    const { run, chunks, reported } = await open(script);
    expect((await rest(chunks)).length).toBe(3);
    await run.over;
    expect(reported).toEqual([error]);
  });
});

describe("eventStream() when its reader goes", () => {
  it("aborts a generator that waits and returns it", async () => {
    const { mock, chunks } = await open(endless(() => new Promise(() => undefined)));
    await chunks.next();
    await chunks.next();
    const waiting = chunks.next();
    await chunks.cancel();
    expect(mock).toMatchObject({ active: 0, aborted: 1, finished: 1 });
    expect(await waiting).toBe(undefined);
  });

  it("returns a generator that nobody has pulled yet", async () => {
    const { mock, chunks } = await open(endless());
    await chunks.cancel();
    // The start, and the end that says that it was cancelled.
    expect(mock).toMatchObject({ active: 0, aborted: 1, finished: 1, events: 2 });
  });

  it("leaves a generator alone that has ended", async () => {
    const { mock, chunks } = await open(saying("x"));
    await rest(chunks);
    await chunks.cancel();
    expect(mock).toMatchObject({ active: 0, aborted: 0, finished: 1 });
  });
});

describe("eventStream() in silence", () => {
  it("pings between events while a read waits, and the event comes after", async () => {
    const gate = Promise.withResolvers<void>();
    const script: Script = () => [START, gate.promise, token("x", 1), complete(1)];
    const { chunks } = await open(script, { keepAliveMs: 1 });
    expect(await chunks.next()).toBe(PREAMBLE);
    expect(await chunks.next()).toBe("data: start\n\n");
    for (let i = 0; i < 3; i++) expect(await chunks.next()).toBe(PING);
    gate.resolve();
    const all = (await rest(chunks)).filter((chunk) => chunk !== PING);
    expect(all).toEqual(["data: token\n\n", "data: complete\n\n"]);
  });

  it("queues no pings for a reader that does not read", async () => {
    const gate = Promise.withResolvers<void>();
    const script: Script = () => [START, gate.promise, complete(0)];
    const { chunks } = await open(script, { keepAliveMs: 1 });
    for (let i = 0; i < 3; i++) await chunks.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    gate.resolve();
    const all = await rest(chunks);
    // At most the one ping whose pull had begun before the reader stopped.
    expect(all.filter((chunk) => chunk === PING).length).toBeLessThanOrEqual(1);
    expect(all.at(-1)).toBe("data: complete\n\n");
  });

  it("never pings where keepAliveMs is 0", async () => {
    const gate = Promise.withResolvers<void>();
    const { chunks } = await open(() => [START, gate.promise, complete(0)], { keepAliveMs: 0 });
    const all = rest(chunks);
    setTimeout(gate.resolve, 20);
    expect(await all).toEqual([PREAMBLE, "data: start\n\n", "data: complete\n\n"]);
  });

  it("never pings where events come in time", async () => {
    const { chunks } = await open(saying("a", "b", "c"), { keepAliveMs: 60_000 });
    expect((await rest(chunks)).includes(PING)).toBe(false);
  });

  it("leaves no timer behind: not after the end, not after a cancel", async () => {
    const { live, restore } = watchTimers();
    try {
      const ended = await open(saying("a"), { keepAliveMs: 60_000 });
      await rest(ended.chunks);
      expect(live.size).toBe(0);
      const left = await open(endless(() => new Promise(() => undefined)), { keepAliveMs: 60_000 });
      await left.chunks.next();
      await left.chunks.next();
      const waiting = left.chunks.next();
      await new Promise((resolve) => queueMicrotask(() => resolve(undefined)));
      expect(live.size).toBe(1);
      await left.chunks.cancel();
      await waiting;
      expect(live.size).toBe(0);
    } finally {
      restore();
    }
  });
});
