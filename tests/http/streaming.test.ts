/** Streams over HTTP: resumed by token, read by many, stopped by name, in any process. */
import { describe, expect, it } from "bun:test";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Handler } from "../../src/server/handler.ts";
import { cursorOf, idempotencyKeyOf } from "../../src/server/streaming.ts";
import { SqliteStore } from "../../src/stream/stores/sqlite.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
} from "../support/mock_generator.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { ChunkReader, get, jsonOf, post } from "../support/requests.ts";
import { after, serve, whole, withoutPreamble } from "../support/stream_requests.ts";

const PROMPT = { prompt: "Hi" };
const CHAT = { messages: [{ role: "user", content: "Hi" }], stream: true };

describe("cursorOf()", () => {
  it("is the header, then lastEventId, then from; none where they are empty", () => {
    const url = "/v1/streams/x?from=1&lastEventId=2";
    expect(cursorOf(get(url, { "last-event-id": "3" }))).toBe("3");
    expect(cursorOf(get(url))).toBe("2");
    expect(cursorOf(get("/v1/streams/x?from=1"))).toBe("1");
    expect(cursorOf(get("/v1/streams/x?from="))).toBe(undefined);
  });
});

describe("idempotencyKeyOf()", () => {
  it("takes 1 to 255 characters", () => {
    const keyOf = (key: string) => idempotencyKeyOf(get("/", { "idempotency-key": key }));
    expect(idempotencyKeyOf(get("/"))).toBe(undefined);
    expect(keyOf("k".repeat(255))).toBe("k".repeat(255));
    expect(() => keyOf("k".repeat(256))).toThrow("has 256 characters");
  });
});

describe("GET /v1/streams/{id}", () => {
  for (const [path, body] of [["/v1/stream", PROMPT], ["/v1/chat/completions", CHAT]] as const) {
    it(`gives the rest of ${path} from each id on, byte for byte`, async () => {
      const { handler, mock } = serve(saying("a", "", "é\n", "😀", " "));
      const { id, text } = await whole(handler, post(path, body));
      const cursors = [...text.matchAll(/^id: (.*)$/gm)].map(([, cursor]) => cursor!);
      expect(cursors.length).toBeGreaterThan(5);
      for (const cursor of cursors.slice(0, -1)) {
        const headers = { "last-event-id": cursor };
        const resumed = await whole(handler, get(`/v1/streams/${id}`, headers));
        expect(resumed.status).toBe(200);
        expect(withoutPreamble(resumed.text)).toBe(after(text, cursor));
      }
      const last = await whole(handler, get(`/v1/streams/${id}?lastEventId=${cursors.at(-1)}`));
      expect(last).toMatchObject({ status: 204, text: "" });
      // Nothing of it was computed again.
      expect(mock.requests.length).toBe(1);
    });
  }

  it("takes the cursor from the header before the URL, and a bare seq as from", async () => {
    const { handler } = serve(saying("a", "b", "c"));
    const { id } = await whole(handler, post("/v1/stream", PROMPT));
    const from = await whole(handler, get(`/v1/streams/${id}?from=2`));
    expect(from.text).toContain(`id: ${id}:3\n`);
    expect(from.text).not.toContain(`id: ${id}:2\n`);
    const both = get(`/v1/streams/${id}?from=2`, { "last-event-id": `${id}:1` });
    expect((await whole(handler, both)).text).toContain(`id: ${id}:2\n`);
  });

  it("gives everything without a cursor", async () => {
    const { handler } = serve(saying("a", "b"));
    const first = await whole(handler, post("/v1/stream", PROMPT));
    expect((await whole(handler, get(`/v1/streams/${first.id}`))).text).toBe(first.text);
  });

  it("refuses with 400, 404, 409 and 410 as the place deserves", async () => {
    const { handler } = serve(saying("a", "b"), { streams: { ageMs: 0 } });
    const { id } = await whole(handler, post("/v1/stream", PROMPT));
    const statusOf = async (request: Request) => (await handler(request)).status;
    expect(await statusOf(get(`/v1/streams/${id}?from=x`))).toBe(400);
    expect(await statusOf(get(`/v1/streams/${id}?from=99`))).toBe(409);
    expect(await statusOf(get(`/v1/streams/${"0".repeat(32)}`))).toBe(404);
    expect(await statusOf(get("/v1/streams/..%2Fx"))).toBe(404);
    // The next request sweeps what is too old.
    await whole(handler, post("/v1/stream", PROMPT));
    const gone = await jsonOf(handler, get(`/v1/streams/${id}`));
    expect(gone.status).toBe(410);
    expect(gone.body).toMatchObject({ message: expect.stringContaining("was dropped") });
    expect(handler.streams.droppedStreams).toBe(1);
  });

  it("knows no stream of another key", async () => {
    const { handler } = serve(saying("a"));
    const key = { authorization: "Bearer one" };
    const { id } = await whole(handler, post("/v1/stream", PROMPT, key));
    expect((await handler(get(`/v1/streams/${id}`, key))).status).toBe(200);
    expect((await handler(get(`/v1/streams/${id}`, { "x-api-key": "one" }))).status).toBe(200);
    for (const other of [{ authorization: "Bearer two" }, {}]) {
      expect((await handler(get(`/v1/streams/${id}`, other))).status).toBe(404);
      expect((await handler(get(`/v1/streams/${id}`, other, "DELETE"))).status).toBe(404);
    }
  });

  it("serves many readers of one generation, each at its own place", async () => {
    const gate = Promise.withResolvers<void>();
    const script: Script = () => [START, token("a", 1), token("b", 2), gate.promise, complete(2)];
    const { handler, mock } = serve(script);
    const first = await handler(post("/v1/stream", PROMPT));
    const id = first.headers.get("x-stream-id");
    const readers = await Promise.all([
      ...Array.from({ length: 10 }, () => handler(get(`/v1/streams/${id}`))),
      ...Array.from({ length: 10 }, () => handler(get(`/v1/streams/${id}?from=0`))),
    ]);
    expect(handler.streams).toMatchObject({ running: 1, readers: 21, resumed: 10 });
    gate.resolve();
    const texts = await Promise.all([first, ...readers].map((response) => response.text()));
    expect(new Set(texts.map(withoutPreamble)).size).toBe(1);
    expect(mock.requests.length).toBe(1);
    expect(handler.streams).toMatchObject({ running: 0, readers: 0 });
  });

  it("refuses one reader too many with 429 and Retry-After", async () => {
    const { handler } = serve(endless(), { streams: { readersMax: 1 } });
    const first = await handler(post("/v1/stream", PROMPT));
    const second = await handler(get(`/v1/streams/${first.headers.get("x-stream-id")}`));
    expect(second.status).toBe(429);
    expect(second.headers.get("retry-after")).toBe("1");
    expect(handler.streams.refusedReaders).toBe(1);
    await first.body?.cancel();
  });

  it("says 410 for a place that the log has dropped, and reads on where it has not", async () => {
    const texts = Array.from({ length: 200 }, (_, i) => `token ${i}`);
    const { handler } = serve(saying(...texts), { streams: { logBytesMax: 4000 } });
    const { id, text } = await whole(handler, post("/v1/stream", PROMPT));
    expect(text).toContain("event: complete");
    expect((await jsonOf(handler, get(`/v1/streams/${id}?from=0`))).status).toBe(410);
    expect((await whole(handler, get(`/v1/streams/${id}?from=195`))).text).toContain("token 199");
  });
});

describe("a creating route with Last-Event-ID", () => {
  it("resumes a stream of ours and reads no body", async () => {
    const { handler, mock } = serve(saying("a", "b"));
    const { id, text } = await whole(handler, post("/v1/stream", PROMPT));
    const headers = { "last-event-id": `${id}:1` };
    const resumed = await whole(handler, post("/v1/stream", "not JSON", headers));
    expect(withoutPreamble(resumed.text)).toBe(after(text, `${id}:1`));
    expect(mock.requests.length).toBe(1);
  });

  it("starts anew with a bare or unknown one", async () => {
    const { handler, mock } = serve(saying("a"));
    for (const cursor of ["0", "7", `${"a".repeat(32)}:3`]) {
      const { text } = await whole(
        handler,
        post("/v1/stream", PROMPT, { "last-event-id": cursor }),
      );
      expect(text).toContain('"position":1');
    }
    expect(mock.requests.length).toBe(3);
  });
});

describe("DELETE /v1/streams/{id}", () => {
  it("ends the generation, and every reader gets the terminal event", async () => {
    const { handler, mock } = serve(endless(() => new Promise(() => undefined)));
    const response = await handler(post("/v1/stream", PROMPT));
    const id = response.headers.get("x-stream-id");
    const texts = Promise.all(
      [response, await handler(get(`/v1/streams/${id}`))].map((r) => r.text()),
    );
    expect((await handler(get(`/v1/streams/${id}`, {}, "DELETE"))).status).toBe(204);
    for (const text of await texts) expect(text).toContain('"completed_normally":false');
    await mock.until(() => mock.active === 0);
    expect((await handler(get(`/v1/streams/${id}`, {}, "DELETE"))).status).toBe(204);
  });
});

describe("on_disconnect", () => {
  const leave = async (handler: Handler, onDisconnect: unknown) => {
    const response = await handler(post("/v1/stream", { ...PROMPT, on_disconnect: onDisconnect }));
    const chunks = new ChunkReader(response);
    await chunks.next();
    await chunks.next();
    await chunks.cancel();
    return response.headers.get("x-stream-id") ?? "";
  };
  const some = (n: number): Script => () => [
    START,
    ...Array.from({ length: n }, (_, i) => token(`t${i}`, i + 1)),
    complete(n),
  ];

  it("cancel, the default, ends the generation at once", async () => {
    const { handler, mock } = serve(endless());
    await leave(handler, undefined);
    await mock.until(() => mock.active === 0);
    expect(mock.aborted).toBe(1);
  });

  it("continue computes to the end without a reader", async () => {
    const { handler, mock } = serve(some(50));
    const id = await leave(handler, "continue");
    await mock.until(() => mock.finished === 1);
    expect(mock).toMatchObject({ aborted: 0, events: 52 });
    expect((await whole(handler, get(`/v1/streams/${id}?from=1`))).text).toContain("t49");
  });

  it("pause computes nothing until a reader comes, and then goes on where it was", async () => {
    const { handler, mock } = serve(some(50));
    const id = await leave(handler, "pause");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(mock.events).toBeLessThan(5);
    expect(mock.active).toBe(1);
    const { text } = await whole(handler, get(`/v1/streams/${id}?from=1`));
    expect([...text.matchAll(/"position":(\d+)/g)].map(([, n]) => Number(n)))
      .toEqual(Array.from({ length: 49 }, (_, i) => i + 2));
  });

  it("grace_ms waits for a reader so long, then cancels", async () => {
    const { handler, mock } = serve(endless());
    const id = await leave(handler, { grace_ms: 30 });
    const back = await handler(get(`/v1/streams/${id}?from=1`));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(mock.active).toBe(1);
    await back.body?.cancel();
    await mock.until(() => mock.active === 0);
    expect(mock.aborted).toBe(1);
  });

  it("is refused where it is none of these", async () => {
    const { handler } = serve(saying("a"));
    for (const value of ["stop", 1, {}, { grace_ms: -1 }]) {
      const { status, body } = await jsonOf(
        handler,
        post("/v1/stream", { ...PROMPT, on_disconnect: value }),
      );
      expect(status).toBe(400);
      expect(body["fields"]).toMatchObject([{ field: "on_disconnect" }]);
    }
  });
});

describe("a reader that does not read", () => {
  it("is put out after stallMs, and the others are not disturbed", async () => {
    const { handler } = serve(saying("a", "b", "c"), { streams: { stallMs: 60 } });
    // On a socket nothing is read ahead.
    const socket = { host: "localhost" };
    const body = { ...PROMPT, on_disconnect: "pause" };
    const response = await handler(post("/v1/stream", body, socket));
    const stalled = new ChunkReader(response);
    await stalled.next();
    await stalled.next();
    const id = response.headers.get("x-stream-id");
    for (let i = 0; handler.streams.stalledReaders === 0 && i < 200; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(handler.streams).toMatchObject({ stalledReaders: 1, readers: 0 });
    expect(await stalled.next()).toBe(undefined);
    expect((await whole(handler, get(`/v1/streams/${id}?from=1`))).text).toContain("complete");
  });

  it("has to connect again after subscriberMs", async () => {
    const never = endless(() => new Promise(() => undefined));
    const { handler, mock } = serve(never, { streams: { subscriberMs: 60 } });
    const body = { ...PROMPT, on_disconnect: { grace_ms: 0 } };
    const text = await (await handler(post("/v1/stream", body))).text();
    expect(text).not.toContain("event:");
    expect(handler.streams.expiredReaders).toBe(1);
    await mock.until(() => mock.active === 0);
  });
});

describe("a stream whose process is lost", () => {
  const texts = Array.from({ length: 20 }, (_, i) => `t${i}`);
  const stores = {
    "memory for tests": () => new MemoryStore(),
    sqlite: () => new SqliteStore(":memory:"),
  };
  for (const [name, make] of Object.entries(stores)) {
    it(`goes on in another, from ${name}: nothing lost, nothing twice`, async () => {
      const store = make();
      const lost = serve(saying(...texts), { store });
      const response = await lost.handler(
        post("/v1/stream", { ...PROMPT, on_disconnect: "pause" }),
      );
      const id = response.headers.get("x-stream-id");
      const chunks = new ChunkReader(response);
      let before = "";
      for (let i = 0; i < 8; i++) before += await chunks.next();
      await chunks.cancel();
      const next = serve(saying(...texts), { store });
      const last = [...before.matchAll(/^id: (.*)$/gm)].at(-1)![1]!;
      const rest = await whole(next.handler, get(`/v1/streams/${id}`, { "last-event-id": last }));
      const positions = [...(before + rest.text).matchAll(/"position":(\d+)/g)].map(([, n]) => +n!);
      expect(positions).toEqual(texts.map((_, i) => i + 1));
      expect(next.mock.requests[0]?.resume?.seq).toBeGreaterThan(5);
      expect(next.mock.requests[0]?.sampling?.seed).toBe(lost.mock.requests[0]?.sampling?.seed);
      expect(next.handler.streams.revived).toBe(1);
      // And a third reads the whole of it, the same bytes.
      const third = serve(() => [new Error("not asked")], { store });
      const all = await whole(third.handler, get(`/v1/streams/${id}`));
      expect(withoutPreamble(all.text)).toBe(withoutPreamble(before + withoutPreamble(rest.text)));
    });
  }

  it("goes on by itself where it was to continue without readers", async () => {
    const store = new MemoryStore();
    const never = () => new Promise(() => undefined);
    const lost = serve(endless(never), { store });
    const response = await lost.handler(
      post("/v1/stream", { ...PROMPT, on_disconnect: "continue" }),
    );
    await response.body?.cancel();
    const next = serve(saying(...texts), { store });
    await next.mock.until(() => next.mock.finished === 1);
    const id = response.headers.get("x-stream-id");
    expect((await whole(next.handler, get(`/v1/streams/${id}`))).text).toContain("t19");
  });

  it("is not kept where the client asks so", async () => {
    const store = new MemoryStore();
    const { handler } = serve(saying("a"), { store });
    await whole(handler, post("/v1/stream", { ...PROMPT, resumable: false }));
    expect(store.records.size).toBe(0);
  });
});

describe("a store that fails in mid-stream", () => {
  it("does not hold up the stream, is told by health, and gets everything when it is back", async () => {
    const store = new MemoryStore();
    const gate = Promise.withResolvers<void>();
    const script: Script = () => [START, token("a", 1), token("b", 2), gate.promise, complete(2)];
    const { handler, failures } = serve(script, { store });
    const response = await handler(post("/v1/stream", PROMPT));
    const chunks = new ChunkReader(response);
    await chunks.next();
    expect(await chunks.next()).toContain('"a"');
    store.failure = new Error("ENOSPC: no space left on device");
    expect(await chunks.next()).toMatch(/^: notice: not resumable after a restart/);
    expect(await chunks.next()).toContain('"b"');
    expect((await jsonOf(handler, get("/health"))).body).toMatchObject({ status: "degraded" });
    expect(failures.map(String)).toEqual(["Error: ENOSPC: no space left on device"]);
    store.failure = undefined;
    gate.resolve();
    expect(await chunks.next()).toContain("complete");
    const id = response.headers.get("x-stream-id")!;
    for (let i = 0; store.events.get(id)!.length < 4 && i < 200; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(store.events.get(id)!.map(({ type }) => type))
      .toEqual(["start", "token", "token", "complete"]);
    expect((await jsonOf(handler, get("/health"))).body).toMatchObject({ status: "ok" });
  });

  it("as a full disk does ends no stream, and what was written before is read again", async () => {
    const path = join(await mkdtemp(join(tmpdir(), "sluice-full-")), "streams.db");
    const texts = Array.from({ length: 3000 }, (_, i) => `some text of token ${i}`);
    const store = new SqliteStore(path, { bytesMax: 200_000 });
    const { handler, failures } = serve(saying(...texts), { store });
    const { id, text } = await whole(handler, post("/v1/stream", PROMPT));
    expect(text.match(/event: token/g)?.length).toBe(3000);
    expect(text).toContain("event: complete");
    expect(text.match(/: notice: /g)?.length).toBe(1);
    expect(String(failures[0])).toContain("full");
    expect((await jsonOf(handler, get("/health"))).body).toMatchObject({ status: "degraded" });
    await store[Symbol.asyncDispose]();
    await using again = new SqliteStore(path);
    const stored = await again.find(id);
    expect(stored?.end).toBeGreaterThan(100);
    expect(stored?.ended).toBe(false);
  });

  it("that hangs costs its time-out once", async () => {
    const store = new MemoryStore();
    const { handler } = serve(saying("a", "b", "c"), { store, streams: { storeTimeoutMs: 20 } });
    store.gate = new Promise(() => undefined);
    const start = performance.now();
    expect((await whole(handler, post("/v1/stream", PROMPT))).text).toContain("complete");
    expect(performance.now() - start).toBeLessThan(400);
    expect(store.appends).toBe(1);
  });
});

describe("two replicas with one store", () => {
  const replica = (store: MemoryStore, script: Script) =>
    serve(script, { store, streams: { leaseMs: 200 } });

  it("read each other's streams while they are made, and demand crosses", async () => {
    const store = new MemoryStore();
    store.shared = true;
    const texts = Array.from({ length: 30 }, (_, i) => `t${i}`);
    const a = replica(store, saying(...texts));
    const b = replica(store, () => [new Error("not asked")]);
    const response = await a.handler(post("/v1/stream", { ...PROMPT, on_disconnect: "pause" }));
    const chunks = new ChunkReader(response);
    for (let i = 0; i < 4; i++) await chunks.next();
    await chunks.cancel();
    const id = response.headers.get("x-stream-id");
    const { text } = await whole(b.handler, get(`/v1/streams/${id}?from=3`));
    expect([...text.matchAll(/"position":(\d+)/g)].map(([, n]) => Number(n)))
      .toEqual(Array.from({ length: 27 }, (_, i) => i + 4));
    expect(b.mock.requests.length).toBe(0);
    await a.mock.until(() => a.mock.finished === 1);
  });

  it("take over from one that is gone once its lease has ended", async () => {
    const store = new MemoryStore();
    store.shared = true;
    const id = "a".repeat(32);
    const context = { model: new MockGenerator().model, id, created: 0 };
    const asked = { path: "/v1/stream", dialect: "native", body: PROMPT, seed: 1 };
    const request = { ...asked, context, onDisconnect: "cancel" };
    await store.create({ id, owner: "", createdAt: Date.now(), request });
    await store.append(id, 0, [START, token("t0", 1)]);
    await store.claim(id, "gone", 200);
    const b = replica(store, saying("t0", "t1", "t2"));
    const { text } = await whole(b.handler, get(`/v1/streams/${id}`));
    expect([...text.matchAll(/"token":"(t\d)"/g)].map(([, t]) => t)).toEqual(["t0", "t1", "t2"]);
    expect(b.mock.requests.length).toBe(1);
  });
});

describe("Handler.drain() with a store", () => {
  it("leaves what runs to the next process, and tells the readers when to come back", async () => {
    const store = new MemoryStore();
    const never = () => new Promise(() => undefined);
    const script: Script = function* () {
      yield START;
      yield token("a", 1);
      yield never();
    };
    const { handler, mock } = serve(script, { store });
    const response = await handler(post("/v1/stream", PROMPT));
    const text = response.text();
    await mock.until(() => mock.events === 2);
    await handler.drain(1);
    expect(await text).toMatch(/retry: 1000\nevent: shutdown\ndata: \{\}\n\n$/);
    const id = response.headers.get("x-stream-id")!;
    expect(store.events.get(id)!.map(({ type }) => type)).toEqual(["start", "token"]);
    const next = serve(saying("a", "b"), { store });
    expect((await whole(next.handler, get(`/v1/streams/${id}?from=1`))).text).toContain('"b"');
  });
});
