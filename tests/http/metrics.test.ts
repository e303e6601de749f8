/** GET /metrics: strict text, counters that go up by what was done, labels that are bounded. */
import { describe, expect, it } from "bun:test";
import { ContextFullError, OverloadedError } from "../../src/errors.ts";
import type { GeneratorLoad } from "../../src/engine/generator.ts";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { createKey } from "../../src/server/keys.ts";
import { SOCKET_PATH } from "../../src/server/upgrades.ts";
import { DownloadTracker } from "../../src/store/tracker.ts";
import { type Metric, parseExposition, valueIn } from "../support/exposition.ts";
import { FakeSocket, HANDSHAKE } from "../support/fake_socket.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  START,
  token,
} from "../support/mock_generator.ts";
import { ChunkReader, get, post } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

const PROMPT = { prompt: "Hi" };

async function scrape(handler: Handler): Promise<Map<string, Metric>> {
  return parseExposition(await (await handler(get("/metrics"))).text());
}

async function limitHits(handler: Handler, limit: string): Promise<number> {
  return valueIn(await scrape(handler), "sluice_limit_hits_total", { limit });
}

/** A generator that says how busy it is. */
class BusyGenerator extends MockGenerator {
  readonly load: GeneratorLoad = { slots: 4, running: 3, waiting: 2, cacheBytes: 1024 };
}

describe("GET /metrics", () => {
  it("is text of the format 0.0.4 in which every metric has its HELP and TYPE", async () => {
    const { handler } = serve(saying("x"));
    const response = await handler(get("/metrics"));
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(response.headers.get("cache-control")).toBe("no-store");
    const metrics = parseExposition(await response.text());
    expect(metrics.size).toBeGreaterThan(30);
    for (const name of metrics.keys()) expect(name).toMatch(/^(sluice|process)_[a-z_]+$/);
    expect(valueIn(metrics, "process_resident_memory_bytes")).toBeGreaterThan(1 << 20);
    const age = Date.now() / 1000 - valueIn(metrics, "process_start_time_seconds");
    expect(age).toBeGreaterThanOrEqual(0);
    expect(age).toBeLessThan(60);
  });

  it("wants a key with the scope metrics where there are keys", async () => {
    const [reader, scraper] = await Promise.all([
      createKey({ name: "reader" }),
      createKey({ name: "scraper", scopes: ["metrics"] }),
    ]);
    const handler = createHandler(new MockGenerator(), { keys: [reader.key, scraper.key] });
    const statusOf = async (headers: Record<string, string>): Promise<number> =>
      (await handler(get("/metrics", headers))).status;
    expect(await statusOf({})).toBe(401);
    expect(await statusOf({ authorization: `Bearer ${reader.secret}` })).toBe(403);
    expect(await statusOf({ authorization: `Bearer ${scraper.secret}` })).toBe(200);
  });

  it("says whether the model is there, and how busy it is", async () => {
    const loading = createHandler(new Promise<MockGenerator>(() => undefined));
    expect(valueIn(await scrape(loading), "sluice_ready")).toBe(0);
    const metrics = await scrape(createHandler(new BusyGenerator()));
    expect(valueIn(metrics, "sluice_ready")).toBe(1);
    expect(valueIn(metrics, "sluice_slots")).toBe(4);
    expect(valueIn(metrics, "sluice_slots_used")).toBe(3);
    expect(valueIn(metrics, "sluice_queue_length")).toBe(2);
    expect(valueIn(metrics, "sluice_cache_bytes")).toBe(1024);
  });
});

describe("The metrics of requests", () => {
  it("count each by the pattern of its route, its method and its status", async () => {
    const { handler } = serve(saying("x"));
    const requests = [get("/v1/models/mock"), get("/v1/models/none"), get("/v1/models/mock?x=1")];
    for (const request of [...requests, get("/v1/models/mock", {}, "PUT"), get("/nowhere")]) {
      await handler(request);
    }
    const metrics = await scrape(handler);
    const counted = (route: string, method: string, status: string): number =>
      valueIn(metrics, "sluice_http_requests_total", { route, method, status });
    expect(counted("/v1/models/*", "GET", "200")).toBe(2);
    expect(counted("/v1/models/*", "GET", "404")).toBe(1);
    expect(counted("/v1/models/*", "PUT", "405")).toBe(1);
    expect(counted("unmatched", "GET", "404")).toBe(1);
    const labels = { route: "/v1/models/*", method: "GET" };
    expect(valueIn(metrics, "sluice_http_request_duration_seconds_count", labels)).toBe(3);
    // The one that asks is being answered.
    expect(valueIn(metrics, "sluice_http_requests_in_flight")).toBe(1);
  });

  it("count a stream when its body is over, and its client when it leaves before", async () => {
    const { handler, mock } = serve(endless());
    const reader = new ChunkReader(await handler(post("/v1/stream", PROMPT)));
    await reader.next();
    const labels = { route: "/v1/stream", method: "POST", status: "200" };
    const during = await scrape(handler);
    expect(valueIn(during, "sluice_http_requests_total", labels)).toBe(0);
    expect(valueIn(during, "sluice_http_requests_in_flight")).toBe(2);
    expect(valueIn(during, "sluice_streams_running")).toBe(1);
    expect(valueIn(during, "sluice_stream_readers")).toBe(1);
    await reader.cancel();
    await mock.until(() => mock.active === 0);
    const after = await scrape(handler);
    expect(valueIn(after, "sluice_http_requests_total", labels)).toBe(1);
    expect(valueIn(after, "sluice_http_clients_gone_total")).toBe(1);
    expect(valueIn(after, "sluice_streams_running")).toBe(0);
    expect(valueIn(after, "sluice_generations_total", { finish_reason: "cancelled" })).toBe(1);
  });

  it("have bounded labels, whatever 1000 clients ask for", async () => {
    const { handler } = serve(saying("x"));
    await scrape(handler);
    const series = async (): Promise<number> =>
      [...(await scrape(handler)).values()].reduce((sum, { samples }) => sum + samples.length, 0);
    const methods = ["GET", "POST", "DELETE", "PUT"];
    const ask = async (i: number): Promise<void> => {
      const path = [`/p${i}`, `/v1/models/${i}`, `/v1/streams/${i}`, `/v1/${i}/x`][i % 4]!;
      const headers = { "x-request-id": `request-${i}`, "user-agent": `agent${i}` };
      await (await handler(get(path, headers, methods[(i >> 2) % 4]!))).body?.cancel();
    };
    for (let i = 0; i < 40; i++) await ask(i);
    const before = await series();
    for (let i = 40; i < 1000; i++) await ask(i);
    expect(await series()).toBe(before);
  });
});

describe("The metrics of generations", () => {
  it("count tokens, prompts, cached tokens and ends exactly", async () => {
    const { handler, mock } = serve(saying("a", "b", "c"));
    await whole(handler, post("/v1/stream", PROMPT));
    await whole(handler, post("/v1/completions", PROMPT));
    // The end token is counted and has no event.
    mock.script = () => [START, token("a", 1), complete(2, "stop")];
    await whole(handler, post("/v1/stream", PROMPT));
    mock.script = () => [START, token("a", 1), new Error("It failed")];
    await whole(handler, post("/v1/stream", PROMPT));
    const metrics = await scrape(handler);
    expect(valueIn(metrics, "sluice_generated_tokens_total")).toBe(3 + 3 + 2 + 1);
    expect(valueIn(metrics, "sluice_prompt_tokens_total")).toBe(4 * 5);
    expect(valueIn(metrics, "sluice_prompt_tokens_cached_total")).toBe(2 * 3);
    const ended = (finish_reason: string): number =>
      valueIn(metrics, "sluice_generations_total", { finish_reason });
    expect(["eos", "stop", "error", "length"].map(ended)).toEqual([2, 1, 1, 0]);
    expect(valueIn(metrics, "sluice_time_to_first_token_seconds_count")).toBe(4);
    expect(valueIn(metrics, "sluice_inter_token_seconds_count")).toBe(2 + 2);
    expect(valueIn(metrics, "sluice_queue_seconds_count")).toBe(3);
    expect(valueIn(metrics, "sluice_prefill_seconds_sum")).toBeCloseTo(3 * 0.009, 9);
    expect(valueIn(metrics, "sluice_generation_seconds_count")).toBe(3);
    expect(valueIn(metrics, "sluice_failures_total")).toBe(1);
  });

  it("time the first token from the start and the next ones from their demand", async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const { handler } = serve(() => [
      START,
      gates[0]!.promise,
      token("a", 1),
      gates[1]!.promise,
      token("b", 2),
      complete(2),
    ]);
    const answering = whole(handler, post("/v1/stream", PROMPT));
    setTimeout(gates[0]!.resolve, 30);
    await gates[0]!.promise;
    setTimeout(gates[1]!.resolve, 60);
    await answering;
    const metrics = await scrape(handler);
    const first = valueIn(metrics, "sluice_time_to_first_token_seconds_sum");
    const next = valueIn(metrics, "sluice_inter_token_seconds_sum");
    expect(first).toBeGreaterThan(0.02);
    expect(next).toBeGreaterThan(0.05);
    expect(first + next).toBeLessThan(5);
  });

  it("count a pause for want of demand and the readers that come back", async () => {
    const { handler } = serve(saying("a", "b", "c"), {});
    const response = await handler(post("/v1/stream", { ...PROMPT, on_disconnect: "pause" }));
    const id = response.headers.get("x-stream-id")!;
    const reader = new ChunkReader(response);
    await reader.next();
    await reader.next();
    await reader.cancel();
    const paused = async (): Promise<number> =>
      valueIn(await scrape(handler), "sluice_streams_paused");
    while (await paused() === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await whole(handler, get(`/v1/streams/${id}`, { "last-event-id": `${id}:1` }));
    const metrics = await scrape(handler);
    expect(valueIn(metrics, "sluice_streams_paused")).toBe(0);
    expect(valueIn(metrics, "sluice_stream_pauses_total")).toBe(1);
    expect(valueIn(metrics, "sluice_stream_resumes_total")).toBe(1);
  });
});

describe("The metric of a limit moves when it is met:", () => {
  it("bodyBytesMax", async () => {
    const { handler } = serve(saying("x"), { bodyBytesMax: 8 });
    await whole(handler, post("/v1/stream", PROMPT));
    expect(await limitHits(handler, "bodyBytesMax")).toBe(1);
  });

  it.each([
    ["queueMax", new OverloadedError("It is full", 1, "overloaded", "queueMax")],
    ["ctxSize", new ContextFullError(9, 8)],
    ["other", new OverloadedError("It is full", 1)],
    ["other", new OverloadedError("It is full", 1, "overloaded", "canary")],
  ])("%s", async (limit, refusal) => {
    const { handler } = serve(() => [refusal]);
    await whole(handler, post("/v1/stream", PROMPT));
    expect(await limitHits(handler, limit)).toBe(1);
  });

  it.each(["requestsPerMinute", "tokensPerMinute"])("%s", async (limit) => {
    const { secret, key } = await createKey({
      name: "ada",
      scopes: ["generate", "metrics"],
      [limit]: 1,
    });
    const { handler } = serve(saying("a"), { keys: [key] });
    const headers = { authorization: `Bearer ${secret}` };
    await whole(handler, post("/v1/stream", PROMPT, headers));
    expect((await whole(handler, post("/v1/stream", PROMPT, headers))).status).toBe(429);
    const text = await (await handler(get("/metrics", headers))).text();
    expect(valueIn(parseExposition(text), "sluice_limit_hits_total", { limit })).toBe(1);
  });

  it("streams.streamsMax and streams.readersMax", async () => {
    const { handler } = serve(endless(), { streams: { streamsMax: 1, readersMax: 1 } });
    const response = await handler(post("/v1/stream", PROMPT));
    const id = response.headers.get("x-stream-id")!;
    expect((await whole(handler, post("/v1/stream", PROMPT))).status).toBe(429);
    expect((await whole(handler, get(`/v1/streams/${id}`))).status).toBe(429);
    expect(await limitHits(handler, "streams.streamsMax")).toBe(1);
    expect(await limitHits(handler, "streams.readersMax")).toBe(1);
    expect(await limitHits(handler, "other")).toBe(0);
    await response.body!.cancel();
  });

  it.each([["stallMs", "stalled"], ["subscriberMs", "expired"]])(
    "streams.%s, as an eviction",
    async (limit, reason) => {
      const { handler, mock } = serve(endless(), { streams: { [limit]: 60 } });
      const chunks = new ChunkReader(await handler(post("/v1/stream", PROMPT)));
      await chunks.next();
      await mock.until(() => mock.active === 0);
      const metrics = await scrape(handler);
      expect(valueIn(metrics, "sluice_limit_hits_total", { limit: `streams.${limit}` })).toBe(1);
      expect(valueIn(metrics, "sluice_stream_reader_evictions_total", { reason })).toBe(1);
    },
  );

  it("streams.logBytesMax and streams.memoryBytesMax", async () => {
    const { handler } = serve(saying(..."abcdefgh"), {
      streams: { logBytesMax: 800, memoryBytesMax: 1 },
    });
    await whole(handler, post("/v1/stream", PROMPT));
    await whole(handler, post("/v1/stream", PROMPT));
    expect(await limitHits(handler, "streams.logBytesMax")).toBeGreaterThan(0);
    expect(await limitHits(handler, "streams.memoryBytesMax")).toBe(1);
    expect(await limitHits(handler, "streams.ageMs")).toBe(0);
  });

  it("streams.ageMs and streams.pauseMs", async () => {
    const { handler, mock } = serve(endless(), { streams: { ageMs: 0, pauseMs: 20 } });
    const body = { ...PROMPT, on_disconnect: "pause" };
    await (await handler(post("/v1/stream", body))).body!.cancel();
    await mock.until(() => mock.active === 0);
    await (await handler(post("/v1/stream", PROMPT))).body!.cancel();
    expect(await limitHits(handler, "streams.pauseMs")).toBe(1);
    expect(await limitHits(handler, "streams.ageMs")).toBe(1);
  });

  it("downloads.readers, of the tracker", async () => {
    const tracker = new DownloadTracker({ readers: 1 });
    const subscribe = (ref?: string) => tracker.subscribe(ref);
    const downloads = { tracker, subscribe, begin: () => undefined };
    const { handler } = serve(saying("x"), { downloads });
    const first = await handler(get("/v1/models/download/progress"));
    expect((await handler(get("/v1/models/download/progress"))).status).toBe(429);
    expect(await limitHits(handler, "downloads.readers")).toBe(1);
    expect(valueIn(await scrape(handler), "sluice_download_readers")).toBe(1);
    await first.body!.cancel();
  });

  it.each([
    ["messageBytesMax", [JSON.stringify({ type: "x".repeat(40) })]],
    ["streamsMax", [{ type: "request", ...PROMPT }, { type: "request", ...PROMPT }]],
    ["idleMs", []],
  ])("sockets.%s", async (limit, messages) => {
    const value = limit === "streamsMax" ? 1 : 30;
    const { handler } = serve(endless(), { sockets: { [limit]: value } });
    const request = new Request(`http://localhost${SOCKET_PATH}`, { headers: HANDSHAKE });
    const begin = await handler.upgrade!(request);
    if (typeof begin !== "function") throw new Error("it was refused");
    const socket = new FakeSocket();
    const session = socket.session = begin(socket);
    expect(valueIn(await scrape(handler), "sluice_websockets")).toBe(1);
    for (const message of messages) socket.tell(message);
    while (await limitHits(handler, `sockets.${limit}`) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    session.onClose();
    const metrics = await scrape(handler);
    expect(valueIn(metrics, "sluice_limit_hits_total", { limit: `sockets.${limit}` })).toBe(1);
    expect(valueIn(metrics, "sluice_websockets")).toBe(0);
    const labels = { route: SOCKET_PATH, method: "GET", status: "101" };
    expect(valueIn(metrics, "sluice_http_requests_total", labels)).toBe(1);
  });
});
