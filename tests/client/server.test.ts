import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type ChatStream,
  type Fetch,
  resumeStream,
  streamChat,
  type StreamChatOptions,
} from "../../src/client/mod.ts";
import { StreamError } from "../../src/client/stream_error.ts";
import { createHandler } from "../../src/server/mod.ts";
import { SqliteStore } from "../../src/stream/stores/sqlite.ts";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

const TEXTS = ["Hé", "llo", " 🌍", "", "\n", ..."and so on and so on".split(/(?= )/), "."];
const TEXT = TEXTS.join("");

const generator = new MockGenerator();
let server: RunningServer;
let url = "";

beforeAll(async () => {
  server = await serveHere(createHandler(generator, { onError: () => {} }));
  url = server.url;
});

beforeEach(() => {
  generator.script = saying(...TEXTS);
  generator.requests.length = 0;
  generator.aborted = 0;
});

afterAll(() => server.stop(0));

function chat(more: Partial<StreamChatOptions> = {}): ChatStream {
  return streamChat({ url, prompt: "Hi", ...more });
}

/**
 * The global fetch over a bad line: each connection is cut after so many bytes, in both directions.
 * The server's pause of seconds is shortened on its way.
 */
function cutting(bytes: () => number): { fetch: Fetch; connections: () => number } {
  let connections = 0;
  const fetch: Fetch = async (input, init) => {
    connections++;
    const response = await globalThis.fetch(input, init);
    if (response.body === null) return response;
    let left = bytes();
    const hasty = response.body.pipeThrough(new TextDecoderStream())
      .pipeThrough(
        new TransformStream<string, string>({
          transform: (text, controller) =>
            controller.enqueue(text.replace("retry: 3000\n", "retry: 1\n")),
        }),
      ).pipeThrough(new TextEncoderStream());
    const reader = hasty.getReader();
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: async (controller) => {
        const { value } = await reader.read();
        if (value === undefined) return controller.close();
        controller.enqueue(value.slice(0, left));
        left -= value.length;
        if (left > 0) return;
        await reader.cancel();
        controller.error(new TypeError("The connection was cut"));
      },
      cancel: () => reader.cancel(),
    });
    return new Response(body, response);
  };
  return { fetch, connections: () => connections };
}

async function caught(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(() => undefined, (thrown: unknown) => thrown);
}

describe("the client and a server", () => {
  test("agree on every token", async () => {
    const stream = chat();
    const tokens = await Array.fromAsync(stream);
    expect(tokens.map(({ text }) => text)).toEqual(TEXTS);
    expect(tokens.map(({ position }) => position)).toEqual(TEXTS.map((_, i) => i + 1));
    expect(tokens.map(({ tokenId }) => tokenId)).toEqual(TEXTS.map((_, i) => 101 + i));
    expect(await stream.completion).toMatchObject({
      totalTokens: TEXTS.length,
      completedNormally: true,
    });
    expect(generator.requests[0]).toMatchObject({ prompt: "Hi" });
  });

  test("agree on every token, however often the line is cut, and compute them once", async () => {
    const cuts = Array.from({ length: 60 }, (_, i) => 300 + 7 * i);
    const texts: string[] = [];
    for (const cut of cuts) {
      const line = cutting(() => cut);
      texts.push(await chat({ fetch: line.fetch, retryMs: 1 }).text());
      expect(line.connections()).toBeGreaterThan(2);
    }
    expect(new Set(texts)).toEqual(new Set([TEXT]));
    expect(generator.requests.length).toBe(cuts.length);
  });

  test("compute once what was asked twice because the answer was lost", async () => {
    let isLost = false;
    const fetch: Fetch = async (input, init) => {
      const response = await globalThis.fetch(input, init);
      if (isLost) return response;
      isLost = true;
      await response.body?.cancel();
      throw new TypeError("The connection was cut");
    };
    expect(await chat({ fetch, retryMs: 1 }).text()).toBe(TEXT);
    expect(generator.requests.length).toBe(1);
  });

  test("free the generation when a client that asked for it leaves", async () => {
    generator.script = endless();
    const stream = chat({ onDisconnect: "cancel" });
    for await (const { position } of stream) if (position === 3) break;
    await generator.until(() => generator.active === 0);
    expect(generator.aborted).toBe(1);
  });

  test("end the generation on stop(), and the stream with it", async () => {
    generator.script = endless();
    const stream = chat();
    let last = 0;
    for await (const { position } of stream) {
      last = position;
      if (position === 3) await stream.stop();
    }
    expect(last).toBeGreaterThanOrEqual(3);
    expect(await stream.completion).toMatchObject({ completedNormally: false });
    expect(generator.aborted).toBe(1);
  });

  test("keep a stream that was left for the one who comes back", async () => {
    const stream = chat();
    for await (const { position } of stream) if (position === 4) break;
    const id = await stream.id;
    const from = stream.lastEventId!;
    expect(await resumeStream({ url, id, from }).text()).toBe(TEXTS.slice(4).join(""));
    const whole = resumeStream({ url, id });
    expect(await whole.text()).toBe(TEXT);
    const nothing = resumeStream({ url, id, from: whole.lastEventId! });
    expect(await nothing.text()).toBe("");
    expect(await caught(nothing.completion)).toMatchObject({ code: "already_delivered" });
    expect(generator.requests.length).toBe(1);
  });

  test("agree on what cannot be resumed", async () => {
    const stream = chat({ headers: { authorization: "Bearer one" } });
    await stream.text();
    const id = await stream.id;
    const own = { url, id, headers: { authorization: "Bearer one" } };
    const failures = [
      [resumeStream({ url, id }), "stream_not_found", 404],
      [resumeStream({ ...own, from: 1000 }), "cursor_past_end", 409],
      [resumeStream({ ...own, from: "nowhere:x" }), "malformed_cursor", 400],
    ] as const;
    for (const [resumed, code, status] of failures) {
      const thrown = await caught(resumed.text());
      expect(thrown).toBeInstanceOf(StreamError);
      expect(thrown).toMatchObject({ code, status });
    }
  });

  test("agree on what is wrong with a request", async () => {
    const thrown = await caught(chat({ maxTokens: -1, temperature: 9 }).text());
    expect(thrown).toMatchObject({ code: "request_refused", status: 400 });
    expect((thrown as StreamError).fields.map(({ field }) => field).sort()).toEqual([
      "max_tokens",
      "temperature",
    ]);
  });

  test("go on over a restart of the server, told by its shutdown", async () => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-client-"));
    const never = new Promise(() => {});
    const start = async (pauseAt: number, port = 0) => {
      const replica = new MockGenerator(function* ({ resume }) {
        yield START;
        for (let seq = (resume?.seq ?? 0) + 1; seq <= TEXTS.length; seq++) {
          if (seq === pauseAt) yield never;
          yield token(TEXTS[seq - 1]!, seq);
        }
        yield usage(TEXTS.length);
        yield complete(TEXTS.length);
      });
      const store = new SqliteStore(join(folder, "streams.db"));
      return { replica, running: await serveHere(createHandler(replica, { store }), port) };
    };
    const first = await start(5);
    const stream = chat({ url: first.running.url });
    const seen: number[] = [];
    let second: typeof first | undefined;
    try {
      for await (const { position } of stream) {
        seen.push(position);
        if (position !== 4) continue;
        await first.running.stop();
        second = await start(0, first.running.port);
      }
      expect(seen).toEqual(TEXTS.map((_, i) => i + 1));
      expect(await stream.text()).toBe(TEXT);
      expect(second?.replica.requests[0]?.resume).toMatchObject({ seq: 4 });
    } finally {
      await second?.running.stop();
      await rm(folder, { recursive: true });
    }
  });
});
