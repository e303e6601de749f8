import { describe, expect, test } from "bun:test";
import { chat, failure, first } from "./chats.ts";
import {
  bodyOf,
  bytesOf,
  MESSAGES,
  preamble,
  ScriptedServer,
  streamed,
  TEXT,
} from "./scripted_server.ts";

describe("a Wire", () => {
  test("repeats a request that got no id with the same idempotency key", async () => {
    const server = new ScriptedServer((_request, k) => {
      if (k === 0) throw new TypeError("fetch failed");
      if (k === 1) return new Response("Bad gateway", { status: 502 });
      return k === 2 ? streamed(bodyOf(new Uint8Array(0)), false) : undefined;
    });
    expect(await chat(server).text()).toBe(TEXT);
    expect(server.came.map(({ method }) => method)).toEqual(["POST", "POST", "POST", "POST"]);
    expect(new Set(server.came.map(({ body }) => body)).size).toBe(1);
    expect(server.keys.size).toBe(1);
    await chat(server).text();
    expect(server.keys.size).toBe(2);
  });

  test.each([429, 503])("waits as long as Retry-After says: %i", async (status) => {
    const times: number[] = [];
    const server = new ScriptedServer((_request, k) => {
      times.push(performance.now());
      if (k === 1) return new Response("{}", { status, headers: { "retry-after": "1" } });
      return first(MESSAGES[0]!)(_request, k);
    });
    expect(await chat(server).text()).toBe(TEXT);
    expect(times[2]! - times[1]!).toBeGreaterThan(990);
  });

  test("says that the server is busy when Retry-After is later than it would wait", async () => {
    const server = new ScriptedServer(() =>
      new Response("{}", { status: 429, headers: { "retry-after": "120" } })
    );
    const stream = chat(server);
    expect((await failure(stream.text())).code).toBe("overloaded");
    expect((await failure(stream.completion)).code).toBe("overloaded");
    expect((await failure(stream.id)).code).toBe("overloaded");
    expect(server.came.length).toBe(1);
  });

  test.each([
    [400, "malformed_cursor"],
    [403, "request_refused"],
    [404, "stream_not_found"],
    [409, "cursor_past_end"],
    [410, "stream_evicted"],
    [500, "server_failed"],
  ])("ends with a StreamError when it cannot resume: %i is %s", async (status, code) => {
    const body = JSON.stringify({ error_type: "validation", message: "Because", fields: [] });
    const server = new ScriptedServer((request, k) =>
      k === 0 ? first(MESSAGES[0]!)(request, k) : new Response(body, { status })
    );
    const stream = chat(server);
    const thrown = await failure(Array.fromAsync(stream));
    expect(thrown).toMatchObject({ code, status, errorType: "validation" });
    expect(thrown.message).toContain("Because");
    expect(await failure(stream.completion)).toBe(thrown);
    expect(server.came.length).toBe(2);
  });

  test("tells which fields the server refuses", async () => {
    const fields = [{ field: "max_tokens", message: "expected an integer" }];
    const body = JSON.stringify({ error_type: "validation", message: "No", fields });
    const server = new ScriptedServer(() => new Response(body, { status: 400 }));
    const thrown = await failure(chat(server).text());
    expect(thrown).toMatchObject({ code: "request_refused", status: 400, fields });
  });

  test("gives up after `retries` attempts without progress, and progress counts anew", async () => {
    const server: ScriptedServer = new ScriptedServer((came, k) => {
      if (k % 3 !== 0) throw new TypeError("fetch failed");
      return k < 9 ? streamed(bodyOf(server.bytes(came)!.slice(0, 320))) : undefined;
    });
    expect(await chat(server, { retries: 3 }).text()).toBe(TEXT);
    const deaf = new ScriptedServer(() => Promise.reject(new TypeError("fetch failed")));
    const thrown = await failure(chat(deaf, { retries: 3 }).text());
    expect(thrown.code).toBe("disconnected");
    expect(thrown.cause).toBeInstanceOf(TypeError);
    expect(deaf.came.length).toBe(4);
  });

  test("gives up after `timeoutMs`, though a server answers and says nothing", async () => {
    const server = new ScriptedServer(() => streamed(bodyOf(bytesOf([preamble(true)]))));
    const thrown = await failure(chat(server, { timeoutMs: 50 }).text());
    expect(thrown.code).toBe("disconnected");
    expect(server.came.length).toBeGreaterThan(2);
  });

  /** The body of a response whose connection broke before anybody read it. */
  const cutBody = () => bodyOf(new Uint8Array(0), "fails");

  test.each([400, 404, 503])("asks again where the body of a %i is cut", async (status) => {
    const server = new ScriptedServer((_request, k) =>
      k < 2 ? new Response(cutBody(), { status }) : undefined
    );
    expect(await chat(server).text()).toBe(TEXT);
    expect(server.came.length).toBe(3);
    const thrown = await failure(
      chat(new ScriptedServer(() => new Response(cutBody(), { status })), { retries: 2 }).text(),
    );
    expect(thrown.code).toBe(status === 503 ? "overloaded" : "disconnected");
  });

  test("gives up on a refusal whose body never ends", async () => {
    const body = () => bodyOf(new TextEncoder().encode('{"mess'), "open");
    const server = new ScriptedServer(() => new Response(body(), { status: 400 }));
    const thrown = await failure(chat(server, { timeoutMs: 30 }).text());
    expect(thrown.code).toBe("disconnected");
  });

  test("gives up on a server that takes the request and never answers", async () => {
    const server = new ScriptedServer(() => new Promise<Response>(() => {}));
    const thrown = await failure(chat(server, { timeoutMs: 30 }).text());
    expect(thrown.code).toBe("disconnected");
  });
});
