/** Framings: one stream as SSE, lines of JSON and binary frames, each resumed at any event. */
import { describe, expect, it } from "bun:test";
import { framingOf, sseFraming } from "../../src/server/framing.ts";
import { createHandler } from "../../src/server/handler.ts";
import { StreamingConfig } from "../../src/stream/config.ts";
import { FrameParser } from "../../src/stream/frame.ts";
import { NdjsonParser } from "../../src/stream/ndjson.ts";
import { complete, MockGenerator, saying, START, token, usage } from "../support/mock_generator.ts";
import { ChunkReader, get, post } from "../support/requests.ts";

const PROMPT = { prompt: "Hi" };
const NDJSON = { accept: "application/x-ndjson" };
const BINARY = { accept: "application/octet-stream" };

const serve = (options = {}) => createHandler(new MockGenerator(saying("a", "", "é")), options);
const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer());

describe("framingOf()", () => {
  it("is SSE for whoever asks for nothing else", () => {
    for (const accept of ["*/*", "text/event-stream", "application/json"]) {
      expect(framingOf(get("/", { accept })).contentType).toBe(sseFraming().contentType);
    }
    expect(framingOf(get("/")).contentType).toBe(sseFraming().contentType);
  });
});

describe("NDJSON", () => {
  it("has a line for each message, with id and event", async () => {
    const response = await serve()(post("/v1/stream", PROMPT, NDJSON));
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    const messages = new NdjsonParser().push(await bytesOf(response));
    expect(messages.map(({ event }) => event)).toEqual(["token", "token", "token", "complete"]);
    expect(messages[2]).toMatchObject({ data: { token: "é", position: 3 } });
    const id = response.headers.get("x-stream-id");
    expect(messages.map((message) => message.id)).toEqual([1, 2, 3, 5].map((n) => `${id}:${n}`));
  });
});

describe("binary frames", () => {
  it("are the events themselves, from any seq on", async () => {
    const handler = serve();
    const response = await handler(post("/v1/chat/completions", {
      messages: [{ role: "user", content: "Hi" }],
      stream: true,
    }, BINARY));
    const all = [START, token("a", 1), token("", 2), token("é", 3), usage(3), complete(3)];
    const expected = all.map((event, seq) => ({ seq, event }));
    expect(new FrameParser().push(await bytesOf(response))).toEqual(expected);
    const id = response.headers.get("x-stream-id");
    for (let seq = 0; seq < all.length - 1; seq++) {
      const rest = await handler(get(`/v1/streams/${id}?from=${seq}`, BINARY));
      expect(new FrameParser().push(await bytesOf(rest))).toEqual(expected.slice(seq + 1));
    }
  });

  it("cross over to another framing at any event", async () => {
    const handler = serve();
    const response = await handler(post("/v1/stream", PROMPT, BINARY));
    await response.arrayBuffer();
    const id = response.headers.get("x-stream-id");
    const text = await (await handler(get(`/v1/streams/${id}?from=2`))).text();
    expect(text).toContain(`id: ${id}:3\nevent: token\n`);
    expect(text).not.toContain(`id: ${id}:2\n`);
  });
});

describe("a handler that groups", () => {
  it("gives the same bytes in fewer chunks, the preamble at once", async () => {
    const streaming = new StreamingConfig({ bufferSize: 3, flushIntervalMs: 60_000 });
    const read = async (options: object) => {
      const chunks = new ChunkReader(await serve(options)(post("/v1/stream", PROMPT)));
      const all: string[] = [];
      for (let chunk = await chunks.next(); chunk !== undefined; chunk = await chunks.next()) {
        all.push(chunk.replaceAll(/[0-9a-f]{32}/g, "<stream>"));
      }
      return all;
    };
    const [single, grouped] = [await read({}), await read({ streaming })];
    expect(grouped.join("")).toBe(single.join(""));
    expect(grouped.length).toBe(3);
    expect(grouped[0]).toBe(single[0]!);
    expect(single.length).toBe(5);
  });
});
