/** The routes of model downloads: who is told what, in which words, and that nobody is left. */
import { describe, expect, it } from "bun:test";
import type { Downloads } from "../../src/server/downloads.ts";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { ModelStore } from "../../src/store/store.ts";
import { DownloadTracker, type TrackerLimits } from "../../src/store/tracker.ts";
import { parseSse } from "../../src/stream/sse.ts";
import { MockHub, Place } from "../store/mock_hub.ts";
import { MockGenerator } from "../support/mock_generator.ts";
import { ChunkReader, get, jsonOf, post } from "../support/requests.ts";
import { serveHere } from "../support/serve_here.ts";

const PATH = "/v1/models/download/progress";
const REF = "hf:owner/tiny";
const PREAMBLE = "retry: 3000\n: ok\n\n";

/** A handler over a store that begins nothing by itself. */
function serve(limits: TrackerLimits = {}, keepAliveMs = 0) {
  const tracker = new DownloadTracker(limits);
  const downloads: Downloads = new ModelStore({ tracker, env: { HOME: "/nowhere" } });
  const handler = createHandler(new MockGenerator(() => []), { downloads, keepAliveMs });
  return { handler, tracker };
}

/** A reader of the progress, past the preamble. */
async function follow(handler: Handler, query = ""): Promise<ChunkReader> {
  const reader = new ChunkReader(await handler(get(`${PATH}${query}`)));
  expect(await reader.next()).toBe(PREAMBLE);
  return reader;
}

describe("GET /v1/models/download/progress", () => {
  it("tells every download in the words of its document", async () => {
    const { handler, tracker } = serve();
    const response = await handler(get(PATH, { accept: "text/event-stream" }));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(response.headers.get("cache-control")).toBe("no-cache, no-store, no-transform");
    const reader = new ChunkReader(response);
    expect(await reader.next()).toBe(PREAMBLE);
    tracker.started("TinyLlama");
    tracker.progress("TinyLlama", 1048576, 10485760);
    tracker.complete("TinyLlama");
    tracker.failed("Other", "Cannot");
    expect([await reader.next(), await reader.next(), await reader.next(), await reader.next()])
      .toEqual([
        'event: started\ndata: {"model_ref":"TinyLlama"}\n\n',
        'event: progress\ndata: {"model_ref":"TinyLlama","bytes":1048576,"total":10485760}\n\n',
        'event: complete\ndata: {"model_ref":"TinyLlama"}\n\n',
        'event: error\ndata: {"model_ref":"Other","message":"Cannot"}\n\n',
      ]);
    await reader.cancel();
    expect(tracker.counts.readers).toBe(0);
  });

  it("first tells a new reader of what runs, with a total of null where it is unknown", async () => {
    const { handler, tracker } = serve();
    tracker.started(REF);
    tracker.progress(REF, 5, null);
    const reader = await follow(handler);
    expect(await reader.next()).toBe(`event: started\ndata: {"model_ref":"${REF}"}\n\n`);
    expect(await reader.next()).toBe(
      `event: progress\ndata: {"model_ref":"${REF}","bytes":5,"total":null}\n\n`,
    );
    await reader.cancel();
  });

  it("tells of one download alone where it is asked for one", async () => {
    const { handler, tracker } = serve();
    const reader = await follow(handler, `?model_ref=${encodeURIComponent(REF)}`);
    tracker.started("hf:owner/other");
    tracker.started(REF);
    expect(await reader.next()).toBe(`event: started\ndata: {"model_ref":"${REF}"}\n\n`);
    await reader.cancel();
  });

  it("stays open with pings while nothing happens, and loses no event to them", async () => {
    const { handler, tracker } = serve({}, 5);
    const reader = await follow(handler);
    for (let i = 0; i < 3; i++) expect(await reader.next()).toBe(": ping\n\n");
    const next = reader.next();
    tracker.started(REF);
    // One more ping may be on its way.
    const told = await next === ": ping\n\n" ? await reader.next() : await next;
    expect(told).toBe(`event: started\ndata: {"model_ref":"${REF}"}\n\n`);
    await reader.cancel();
  });

  it("refuses more readers than are allowed", async () => {
    const { handler } = serve({ readers: 1 });
    const reader = await follow(handler);
    const { status, headers } = await jsonOf(handler, get(PATH));
    expect([status, headers.get("retry-after")]).toEqual([429, "5"]);
    await reader.cancel();
    await (await follow(handler)).cancel();
  });

  it("ends for a reader that does not read, so that it comes back", async () => {
    const { handler, tracker } = serve({ queue: 2 });
    const reader = await follow(handler);
    for (let i = 0; i < 4; i++) tracker.started(`hf:owner/m${i}`);
    expect(await reader.next()).toBeUndefined();
    expect(tracker.counts).toMatchObject({ readers: 0, evicted: 1 });
  });

  it("counts no reader for HEAD, and none for a page of another site", async () => {
    const { handler, tracker } = serve();
    const head = await handler(get(PATH, {}, "HEAD"));
    expect([head.status, head.body, tracker.counts.readers]).toEqual([200, null, 0]);
    const foreign = await handler(get(PATH, { "sec-fetch-site": "cross-site" }));
    expect([foreign.status, tracker.counts.readers]).toEqual([403, 0]);
  });

  it("tells its readers when to come back where the server stops", async () => {
    const { handler, tracker } = serve();
    const reader = await follow(handler);
    const waiting = reader.next();
    await handler.drain();
    expect(await waiting).toBe("retry: 1000\n: shutdown\n\n");
    expect(await reader.next()).toBeUndefined();
    const late = new ChunkReader(await handler(get(PATH)));
    expect(await late.next()).toBe(PREAMBLE);
    expect(await late.next()).toBe("retry: 1000\n: shutdown\n\n");
    expect(await late.next()).toBeUndefined();
    expect(tracker.counts.readers).toBe(0);
  });

  it("forgets a reader whose client goes away, on a port", async () => {
    const { handler, tracker } = serve();
    const server = await serveHere(handler);
    const abort = new AbortController();
    try {
      const response = await fetch(new URL(PATH, server.url), { signal: abort.signal });
      const reader = response.body!.getReader();
      await reader.read();
      expect(tracker.counts.readers).toBe(1);
      abort.abort();
      while (tracker.counts.readers > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    } finally {
      await server.stop();
    }
  });

  it("is no route, and neither is the pull, where there are no downloads", async () => {
    const handler = createHandler(new MockGenerator(() => []));
    expect((await jsonOf(handler, get(PATH))).status).toBe(404);
    // The path of a model has it, which takes no POST.
    expect((await jsonOf(handler, post("/v1/models/pull", {}))).status).toBe(405);
  });
});

describe("POST /v1/models/pull", () => {
  it("begins a pull and says where its progress is told", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const store = place.store();
    const handler = createHandler(new MockGenerator(() => []), { downloads: store });
    const reader = store.subscribe();
    const { status, body } = await jsonOf(handler, post("/v1/models/pull", { model_ref: REF }));
    expect(status).toBe(202);
    expect(body).toEqual({
      model_ref: REF,
      status: "started",
      progress: `${PATH}?model_ref=hf%3Aowner%2Ftiny`,
    });
    for await (const { type } of reader) if (type === "complete") break;
    expect(store.list().map(({ ref }) => ref)).toEqual([`${REF}/tiny-Q8_0.gguf`]);
  });

  it("tells of this pull until its end where events are wanted", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const handler = createHandler(new MockGenerator(() => []), { downloads: place.store() });
    const pull = async (): Promise<unknown[]> => {
      const accept = { accept: "text/event-stream" };
      const response = await handler(post("/v1/models/pull", { model_ref: REF }, accept));
      const events = await Array.fromAsync(parseSse(response.body!));
      return events.flatMap(({ event }) => event ?? []);
    };
    const first = await pull();
    expect([first[0], first.at(-1)]).toEqual(["started", "complete"]);
    expect(first).toContain("progress");
    expect(await pull()).toEqual(["started", "complete"]);
    hub.descriptionFaults.push({ status: 404 });
    expect(await pull()).toEqual(["started", "error"]);
  });

  it.each([
    [{}, "model_ref: expected it to be given, it has no default"],
    [{ model_ref: 7 }, "model_ref: expected a text of 1 to 512 characters, got 7"],
    [
      { model_ref: "/etc/passwd" },
      "model_ref: expected hf:owner/repo[:QUANT] or one of smollm2",
    ],
    [{ model_ref: "hf:owner" }, "expected hf:owner/repo, hf:owner/repo:QUANT or hf:owner/repo/F"],
  ])("refuses %j", async (asked, sentence) => {
    const { handler, tracker } = serve();
    const accept = { accept: "text/event-stream" };
    for (const headers of [{}, accept]) {
      const { status, body } = await jsonOf(handler, post("/v1/models/pull", asked, headers));
      expect(status).toBe(400);
      expect(JSON.stringify(body)).toContain(sentence);
    }
    expect(tracker.counts).toMatchObject({ running: 0, readers: 0 });
  });
});
