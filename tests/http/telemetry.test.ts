/** What a server tells of each request: its id, its durations, its one line in the log. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../src/server/handler.ts";
import { methodOf, RequestWatch, UNMATCHED } from "../../src/server/request_watch.ts";
import { Telemetry } from "../../src/server/telemetry.ts";
import { StreamingConfig } from "../../src/stream/config.ts";
import { LogRecords } from "../support/log_records.ts";
import { endless, MockGenerator, saying, START } from "../support/mock_generator.ts";
import { ChunkReader, get, post } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

const PROMPT = { prompt: "Hi" };

/** Names and durations of a Server-Timing header. */
function timingsOf(response: Response): Map<string, number> {
  const header = response.headers.get("server-timing") ?? "";
  return new Map(
    header.split(", ").map((entry) => {
      const [, name, ms] = /^([a-z]+);dur=(\d+\.\d)$/.exec(entry)!;
      return [name!, Number(ms)];
    }),
  );
}

describe("X-Request-Id", () => {
  const { handler } = serve(saying("x"));
  it("is the client's where that is well-formed", async () => {
    for (const id of ["0123456789abcdef", "b9c1e8a0-1c2d-4e5f-8a9b-0c1d2e3f4a5b", "web_7-000001"]) {
      const response = await handler(get("/health", { "x-request-id": id }));
      expect(response.headers.get("x-request-id")).toBe(id);
    }
  });

  it.each(["short", "with space in it", "x".repeat(65), 'quote"quote', "a/b/c/d/e"])(
    "is a new one in place of %j",
    async (id) => {
      const response = await handler(get("/health", { "x-request-id": id }));
      expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    },
  );

  it("is on every answer, refusals and streams too", async () => {
    const requests = [
      get("/nowhere"),
      get("/health", { host: "evil.test" }),
      post("/v1/stream", "{"),
    ];
    for (const request of [...requests, post("/v1/stream", PROMPT)]) {
      const response = await handler(request);
      expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
      await response.text();
    }
  });
});

describe("Server-Timing", () => {
  it("tells the total of any answer", async () => {
    const { handler } = serve(saying("x"));
    for (const request of [get("/health"), get("/nowhere"), get("/v1/models", {}, "HEAD")]) {
      expect([...timingsOf(await handler(request)).keys()]).toEqual(["total"]);
    }
  });

  it("tells how long a generation took to be read and to be admitted", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { handler } = serve(() => [promise, START]);
    const answering = handler(post("/v1/stream", PROMPT));
    setTimeout(resolve, 30);
    const timings = timingsOf(await answering);
    expect([...timings.keys()]).toEqual(["request", "admit", "total"]);
    expect(timings.get("admit")).toBeGreaterThan(20);
    expect(timings.get("total")).toBeGreaterThanOrEqual(timings.get("admit")!);
  });

  it("tells how long each part took of a stream that has ended", async () => {
    const { handler } = serve(saying("x"));
    const { id } = await whole(handler, post("/v1/stream", PROMPT));
    const response = await handler(get(`/v1/streams/${id}`));
    await response.text();
    const timings = timingsOf(response);
    expect([...timings.keys()]).toEqual(["queue", "prefill", "decode", "total"]);
    expect([timings.get("queue"), timings.get("prefill"), timings.get("decode")]).toEqual([
      1,
      9,
      10,
    ]);
  });
});

describe("The line of a request in the log", () => {
  it("says method, pattern, status and time, by the id that the client has", async () => {
    using log = new LogRecords("info");
    const { handler } = serve(saying("x"));
    const response = await handler(get("/v1/models/mock?secret=1"));
    const [record, ...more] = log.of("server");
    expect(more).toEqual([]);
    expect(record?.properties).toMatchObject({
      requestId: response.headers.get("x-request-id"),
      method: "GET",
      route: "/v1/models/*",
      status: 200,
    });
  });

  it("comes when the last byte of a stream is written, with how many there were", async () => {
    using log = new LogRecords("info");
    const { handler } = serve(saying("x"));
    const response = await handler(post("/v1/stream", PROMPT));
    expect(log.of("server")).toEqual([]);
    const bytes = (await response.bytes()).length;
    expect(log.of("server").map(({ properties }) => properties)).toMatchObject([
      { route: "/v1/stream", status: 200, bytes, outcome: "whole" },
    ]);
  });

  it("says that the client has gone", async () => {
    using log = new LogRecords("info");
    const { handler } = serve(endless());
    const reader = new ChunkReader(await handler(post("/v1/stream", PROMPT)));
    await reader.next();
    await reader.cancel();
    expect(log.of("server").map(({ properties }) => properties["outcome"])).toEqual(["gone"]);
  });

  it("says cut where an answer in one piece fails behind its head", async () => {
    using log = new LogRecords("info");
    const { handler } = serve(() => [START, new Error("It failed")]);
    const response = await handler(post("/v1/completions", PROMPT));
    await response.text().catch(() => "");
    expect(log.records.find(({ message }) => message[0] === "request")?.properties).toMatchObject({
      status: 200,
      outcome: "cut",
    });
  });
});

describe("A stream in the log", () => {
  it("is told from its first reader to its end", async () => {
    using log = new LogRecords("debug");
    const { handler } = serve(saying("a", "b"));
    const { id } = await whole(handler, post("/v1/stream", PROMPT));
    await whole(handler, get(`/v1/streams/${id}`, { "last-event-id": `${id}:1` }));
    expect(
      log.of("stream").map(({ message, properties }) => [
        message[0],
        properties["seq"],
        properties["isResumed"],
      ]),
    ).toEqual([
      ["stream begun", undefined, undefined],
      ["reader joined", 0, false],
      ["stream ended", undefined, undefined],
      ["reader left", undefined, undefined],
      ["reader joined", 2, true],
      ["reader left", undefined, undefined],
    ]);
    expect(log.of("engine").map(({ properties }) => properties)).toMatchObject([
      { finishReason: "eos", promptTokens: 5, tokens: 2 },
    ]);
  });

  it("tells of chunks that went out as one", async () => {
    using log = new LogRecords("debug");
    const { handler } = serve(saying("a", "b"), {
      streaming: new StreamingConfig({ bufferSize: 10, flushIntervalMs: 1000 }),
    });
    const { text } = await whole(handler, post("/v1/stream", PROMPT));
    const flushed = log.of("stream").filter(({ message }) => message[0] === "chunks flushed");
    expect(flushed.length).toBe(1);
    expect(text.length).toBeGreaterThan(Number(flushed[0]!.properties["bytes"]));
  });
});

describe("A failure", () => {
  it("goes to the log, and to onError as it was thrown", async () => {
    using log = new LogRecords("error");
    const failure = new TypeError("secret");
    const { handler, failures } = serve(() => [failure]);
    expect((await handler(post("/v1/stream", PROMPT))).status).toBe(500);
    expect(failures).toEqual([failure]);
    expect(log.records.map(({ category, properties }) => [category[1], properties["error"]]))
      .toEqual([["server", "TypeError"]]);
    expect(log.text).not.toContain("secret");
  });

  it("of a load is told in the engine's category, and the end of one too", async () => {
    using log = new LogRecords("info");
    const loading = Promise.reject(new TypeError("secret"));
    createHandler(loading, { onError: () => undefined });
    createHandler(Promise.resolve(new MockGenerator()));
    await loading.catch(() => undefined);
    await Promise.resolve();
    expect(log.of("engine").map(({ message }) => message[0])).toEqual(["failure", "model loaded"]);
  });
});

describe("RequestWatch", () => {
  it("knows no route until it is told", () => {
    const watch = new RequestWatch(get("/x"), undefined, () => undefined);
    expect(watch.route).toBe(UNMATCHED);
    expect(new Telemetry({}).request(get("/x")).span).toBe(undefined);
  });

  it.each([["GET", "GET"], ["DELETE", "DELETE"], ["BREW", "_OTHER"]])(
    "methodOf() of %s is %s",
    (method, label) => {
      expect(methodOf({ method })).toBe(label);
    },
  );
});
