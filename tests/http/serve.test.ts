/**
 * The adapters over real sockets: disconnects, slow readers, limits, the end.
 */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { type AddressInfo, createServer } from "node:net";
import { type RunningServer, urlOf } from "../../src/server/adapters/server.ts";
import { createHandler, type Handler } from "../../src/server/mod.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  START,
  token,
} from "../support/mock_generator.ts";
import { type Leave, RawClient } from "../support/raw_client.ts";
import { ADAPTERS } from "../support/serve_here.ts";

const PROMPT = { prompt: "Hi" };
const CHAT = { messages: [{ role: "user", content: "Hi ".repeat(100) }] };
const never = (): Promise<never> => new Promise(() => undefined);

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

describe.each(ADAPTERS)("serve() on %s", (_name, serve) => {
  const mock = new MockGenerator();
  let server: RunningServer;
  let reported: unknown[];

  beforeAll(async () => {
    reported = [];
    const onError = (error: unknown): void => void reported.push(error);
    server = await serve(createHandler(mock, { onError, keepAliveMs: 60_000 }));
  });
  afterAll(async () => {
    await server.stop();
    expect(reported).toEqual([]);
  });

  it("listens on 127.0.0.1 where no address is given, and says where", async () => {
    expect(server.hostname).toBe("127.0.0.1");
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });

  it("throws where the port is taken", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as AddressInfo;
    await expect(serve(createHandler(mock), port)).rejects.toThrow();
    await new Promise((resolve) => other.close(resolve));
  });

  it("sends the headers of a stream as decided", async () => {
    mock.script = saying("x");
    const client = await RawClient.open(server.port);
    await client.post("/v1/stream", PROMPT, "Accept-Encoding: gzip, br\r\n");
    await client.until("event: complete");
    const head = client.received.split("\r\n\r\n")[0]?.toLowerCase().split("\r\n") ?? [];
    const known = head.filter((line) =>
      !/^(date|vary|transfer-encoding|content-length|x-stream-id|x-request-id|server-timing):/
        .test(line)
    );
    expect(known.sort()).toEqual([
      "cache-control: no-cache, no-store, no-transform",
      "connection: keep-alive",
      "content-type: text/event-stream; charset=utf-8",
      "http/1.1 200 ok",
      "x-accel-buffering: no",
    ]);
    client.leave("fin");
  });

  it("sends the preamble before the model has answered, then each event on its own", async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    mock.script = () => [
      START,
      gates[0]!.promise,
      token("one", 1),
      gates[1]!.promise,
      token("two", 2),
      complete(2),
    ];
    const client = await RawClient.open(server.port);
    await client.post("/v1/stream", PROMPT);
    await client.until(": ok\n\n");
    expect(client.received).toMatch(/retry: 3000\nid: [0-9a-f]{32}:0\n: ok\n\n/);
    expect(client.received).not.toContain("event:");
    gates[0]?.resolve();
    await client.until('"token":"one"');
    expect(client.received).not.toContain("two");
    gates[1]?.resolve();
    await client.until("event: complete");
    client.leave("fin");
  });

  it("takes the next request on the connection of a finished stream", async () => {
    mock.script = saying("x");
    const client = await RawClient.open(server.port);
    for (let i = 1; i <= 3; i++) {
      await client.post("/v1/stream", PROMPT);
      await client.when(() => client.received.split("completion_reason").length === i + 1);
    }
    client.leave("fin");
  });

  it("answers a client of HTTP/1.0 without chunks", async () => {
    mock.script = saying("x");
    const client = await RawClient.open(server.port);
    const body = JSON.stringify(PROMPT);
    client.send(
      `POST /v1/stream HTTP/1.0\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await client.closed();
    expect(client.received.toLowerCase()).not.toContain("transfer-encoding");
    expect(client.received).toMatch(
      /retry: 3000\nid: [0-9a-f]{32}:0\n: ok\n\nid: [0-9a-f]{32}:1\nevent: token\n/,
    );
    expect(client.received).toContain("event: complete\n");
  });

  const states: [string, string, object][] = [
    ["in silence before the first token", "/v1/stream", PROMPT],
    ["in silence, an answer in one piece", "/v1/chat/completions", CHAT],
    ["while tokens come", "/v1/chat/completions", { ...CHAT, stream: true }],
  ];
  const leaves: Leave[] = ["fin", "rst", "half"];
  for (const [state, path, body] of states) {
    for (const how of leaves) {
      it(`frees the generation within 50 ms of a disconnect by ${how} ${state}`, async () => {
        const isSilent = state.includes("silence");
        const pause = isSilent ? never : () => new Promise((resolve) => setTimeout(resolve, 1));
        mock.script = endless(pause);
        const times: number[] = [];
        for (let i = 0; i < 9; i++) {
          const client = await RawClient.open(server.port);
          const aborted = mock.aborted;
          await client.post(path, body);
          await mock.until(() => mock.active === 1);
          if (!isSilent) await client.until("t3");
          const start = performance.now();
          client.leave(how);
          await mock.until(() => mock.active === 0);
          times.push(performance.now() - start);
          expect(mock.aborted).toBe(aborted + 1);
          client.leave("fin");
        }
        expect(median(times)).toBeLessThan(50);
      });
    }
  }

  it("leaves no generation behind after 300 aborts at any time", async () => {
    mock.script = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));
    const finished = mock.finished;
    let begun = mock.requests.length;
    for (let i = 0; i < 300; i += 20) {
      await Promise.all(Array.from({ length: 20 }, async (_, k) => {
        const client = await RawClient.open(server.port);
        await client.post("/v1/chat/completions", { ...CHAT, stream: k % 2 === 0 });
        await new Promise((resolve) => setTimeout(resolve, k % 5));
        client.leave(k % 3 === 0 ? "rst" : "fin");
      }));
    }
    await mock.until(() => mock.active === 0);
    begun = mock.requests.length - begun;
    expect(mock.finished - finished).toBe(begun);
  });

  it("stops a generation whose reader does not read, and goes on when it does", async () => {
    // 1 MB a token: the kernel's buffers are full after a few.
    const text = "x".repeat(1 << 20);
    mock.script = function* () {
      yield START;
      for (let seq = 1;; seq++) yield token(text, seq);
    };
    const events = mock.events;
    const client = await RawClient.open(server.port);
    client.pause();
    await client.post("/v1/stream", PROMPT);
    await mock.until(() => mock.events > events + 2);
    let last = -1;
    while (last !== mock.events) {
      last = mock.events;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(mock.events - events).toBeLessThan(20);
    client.resume();
    await mock.until(() => mock.events > last + 20);
    client.leave("rst");
    await mock.until(() => mock.active === 0);
  });

  it("refuses a body that is announced too large, or grows too large", async () => {
    for (const head of ["Content-Length: 2000000", "Transfer-Encoding: chunked"]) {
      const client = await RawClient.open(server.port);
      client.send(`POST /v1/stream HTTP/1.1\r\nHost: localhost\r\n${head}\r\n\r\n`);
      if (head.startsWith("T")) client.send(`1e8480\r\n${" ".repeat(2_000_000)}\r\n0\r\n\r\n`);
      await client.until('"fields":[]}');
      expect(client.received).toMatch(/^HTTP\/1.1 413 /);
      client.leave("rst");
    }
  });

  it("survives a body that breaks off", async () => {
    const begun = mock.requests.length;
    for (const how of leaves) {
      const client = await RawClient.open(server.port);
      client.send(
        'POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"prompt":',
      );
      await new Promise((resolve) => setTimeout(resolve, 5));
      client.leave(how);
      if (how === "half") await client.closed();
    }
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    expect(mock.requests.length).toBe(begun);
  });

  it.each([
    ["Host: evil.test", /^HTTP\/1.1 403 /],
    ["Host: localhost\r\nHost: localhost", /^HTTP\/1.1 400 /],
    ["Host: a b<>", /^HTTP\/1.1 400 /],
    ["Host: localhost:99999999", /^HTTP\/1.1 400 /],
    ["Host:", /^HTTP\/1.1 400 /],
    ["X: y", /^HTTP\/1.1 (400|200) /],
  ])("answers %j without an error of its own", async (host, status) => {
    const client = await RawClient.open(server.port);
    client.send(`GET /health HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`);
    await client.closed();
    expect(client.received).toMatch(status);
    expect(client.received).not.toContain("/work");
    expect(client.received).not.toContain("    at ");
  });

  it.each(["TRACE", "PUT", "DELETE"])("refuses %s", async (method) => {
    const client = await RawClient.open(server.port);
    client.send(`${method} /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    await client.closed();
    expect(client.received).toMatch(/^HTTP\/1.1 405 /);
  });
});

describe.each(ADAPTERS)("serve() on %s of a silent stream", (_name, serve) => {
  it("sends pings, which a parser steps over", async () => {
    const mock = new MockGenerator(endless(never));
    const server = await serve(createHandler(mock, { keepAliveMs: 5 }));
    const client = await RawClient.open(server.port);
    await client.post("/v1/chat/completions", { ...CHAT, stream: true });
    await client.when(() => client.received.split(": ping\n\n").length > 3);
    client.leave("fin");
    await mock.until(() => mock.active === 0);
    await server.stop();
  });
});

describe.each(ADAPTERS)("RunningServer.stop() on %s", (_name, serve) => {
  it("lets streams end within the grace and refuses new connections", async () => {
    const gate = Promise.withResolvers<void>();
    const mock = new MockGenerator(() => [START, gate.promise, token("x", 1), complete(1)]);
    const server = await serve(createHandler(mock));
    const client = await RawClient.open(server.port);
    await client.post("/v1/stream", PROMPT);
    await client.until(": ok");
    const stopped = server.stop(60_000);
    await expect(RawClient.open(server.port)).rejects.toThrow();
    gate.resolve();
    await client.until('"completed_normally":true');
    await stopped;
    expect(mock.aborted).toBe(0);
  });

  it("cancels what runs after the grace, with its terminal event, and closes it", async () => {
    const mock = new MockGenerator(endless(never));
    const server = await serve(createHandler(mock));
    const stream = await RawClient.open(server.port);
    await stream.post("/v1/stream", PROMPT);
    const whole = await RawClient.open(server.port);
    await whole.post("/v1/chat/completions", CHAT);
    const idle = await RawClient.open(server.port);
    idle.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await idle.until('"ok"');
    await mock.until(() => mock.active === 2);
    await stream.until(": ok");
    await server.stop(1);
    await stream.until('"completion_reason":"Generation cancelled"');
    for (const client of [stream, whole, idle]) await client.closed();
    expect(whole.received).not.toContain("choices");
    expect(mock.active).toBe(0);
  });

  it("closes the connection of a reader that does not read", async () => {
    const text = "x".repeat(1 << 20);
    const mock = new MockGenerator(function* () {
      yield START;
      for (let seq = 1;; seq++) yield token(text, seq);
    });
    const server = await serve(createHandler(mock));
    const client = await RawClient.open(server.port);
    client.pause();
    await client.post("/v1/stream", PROMPT);
    await mock.until(() => mock.events > 3);
    await server.stop(1);
    await mock.until(() => mock.active === 0);
    client.leave("rst");
  });
});

describe("serve() with rows of the program's own", () => {
  it("asks them before the handler on Deno, where @std/http is; Bun's server has its own", async () => {
    const rows = [{
      pattern: new URLPattern({ pathname: "/mine" }),
      handler: () => new Response("mine"),
    }];
    const handler = createHandler(new MockGenerator());
    const isDeno = "Deno" in globalThis;
    const server = isDeno
      ? (await import("../../src/server/adapters/deno.ts")).serve({
        handler,
        port: 0,
        routes: rows,
      })
      : (await import("../../src/server/adapters/bun.ts")).serve({ handler, port: 0 });
    expect((await fetch(`${server.url}/mine`)).status).toBe(isDeno ? 200 : 404);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    await server.stop();
  });
});

describe("urlOf()", () => {
  it.each(
    [
      ["127.0.0.1", "http://127.0.0.1:80"],
      ["localhost", "http://localhost:80"],
      ["0.0.0.0", "http://127.0.0.1:80"],
      ["::", "http://[::1]:80"],
      ["::1", "http://[::1]:80"],
    ] as const,
  )("of %s is %s", (hostname, url) => expect(urlOf(hostname, 80)).toBe(url));
});

describe.each(ADAPTERS)("serve() on %s of a handler that throws", (_name, serve) => {
  it("answers 500 and says nothing", async () => {
    const handler: Handler = Object.assign(
      () => Promise.reject(new Error("secret at /home/me")),
      { drain: () => Promise.resolve(), streams: createHandler(new MockGenerator()).streams },
    );
    const server = await serve(handler);
    const response = await fetch(`${server.url}/health`);
    expect(response.status).toBe(500);
    expect(await response.text()).toBe("");
    await server.stop();
  });
});
