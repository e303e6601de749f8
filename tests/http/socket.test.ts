/**
 * The session of the WebSocket twin of `POST /v1/stream`, on a socket without a network.
 */
import { describe, expect, it } from "bun:test";
import { SOCKET_DEFAULTS } from "../../src/server/socket.ts";
import { FakeSocket, PROMPT, setUp } from "../support/fake_socket.ts";
import { endless, saying, START, token } from "../support/mock_generator.ts";

const never = (): Promise<never> => new Promise(() => undefined);

describe("SocketSession", () => {
  it("answers a request with metadata, its tokens and its end", async () => {
    const { open } = setUp(saying("Hello", " world"));
    const socket = await open();
    socket.tell({ ...PROMPT, request_id: "a" });
    await socket.next("complete");
    const [metadata, ...events] = socket.messages;
    const { stream, created } = metadata!;
    expect(stream).toMatch(/^[0-9a-f]{32}$/);
    expect(metadata).toEqual({ type: "metadata", stream, request_id: "a", model: "mock", created });
    expect(events).toEqual([
      {
        type: "token",
        stream,
        id: `${stream}:1`,
        seq: 1,
        token: "Hello",
        token_id: 101,
        cumulative_time_ms: 10,
        position: 1,
      },
      {
        type: "token",
        stream,
        id: `${stream}:2`,
        seq: 2,
        token: " world",
        token_id: 102,
        cumulative_time_ms: 20,
        position: 2,
      },
      {
        type: "complete",
        stream,
        id: `${stream}:4`,
        seq: 4,
        total_tokens: 2,
        total_time_ms: 30,
        tokens_per_second: 66.67,
        completed_normally: true,
        completion_reason: "Generation completed successfully",
      },
    ]);
    socket.session.onClose();
  });

  it("tells a failure of the generation as the terminal event of its stream", async () => {
    const { open, reported } = setUp(() => [START, token("x", 1), new Error("secret")]);
    const socket = await open();
    socket.tell(PROMPT);
    const error = await socket.next("error");
    const { stream } = socket.messages[0]!;
    expect(error).toMatchObject({ stream, seq: 2, error_type: "internal", tokens_before_error: 1 });
    expect(JSON.stringify(socket.messages)).not.toContain("secret");
    expect(reported.length).toBe(1);
    socket.session.onClose();
  });

  it("runs several streams side by side", async () => {
    const gate = Promise.withResolvers<void>();
    const { open } = setUp(({ prompt }) => [
      START,
      token(prompt!, 1),
      gate.promise,
      ...[...saying("x")({ prompt: "" })].slice(2),
    ]);
    const socket = await open();
    socket.tell({ ...PROMPT, prompt: "a", request_id: "a" });
    socket.tell({ ...PROMPT, prompt: "b", request_id: "b" });
    await socket.next("token", 2);
    expect(socket.of("complete")).toEqual([]);
    gate.resolve();
    await socket.next("complete", 2);
    for (const name of ["a", "b"]) {
      const { stream } = socket.of("metadata").find(({ request_id }) => request_id === name)!;
      const mine = socket.messages.filter((message) => message["stream"] === stream);
      expect(mine.map(({ type }) => type)).toEqual(["metadata", "token", "complete"]);
      expect(mine[1]!["token"]).toBe(name);
    }
    socket.session.onClose();
  });

  it("reads no event while there is no room, and goes on when there is", async () => {
    const { open, mock } = setUp(endless(), { sockets: { sendBytesMax: 1000 } });
    const socket = await open();
    Object.defineProperty(socket, "bufferedAmount", {
      get: () => socket.bytes,
      configurable: true,
    });
    socket.tell(PROMPT);
    await socket.when(() => socket.bytes >= 1000);
    const { events } = mock;
    const seen = socket.messages.length;
    socket.session.onDrain();
    for (let i = 0; i < 50; i++) await Promise.resolve();
    expect(mock.events).toBe(events);
    expect(socket.messages.length).toBe(seen);
    expect(socket.bytes).toBeLessThan(1300);
    socket.bytes = 0;
    socket.session.onDrain();
    await socket.when(() => socket.bytes >= 1000);
    expect(socket.messages.length).toBeGreaterThan(seen + 3);
    socket.session.onClose();
    await mock.until(() => mock.active === 0);
  });

  it("looks for room by itself where the socket does not tell", async () => {
    const { open, mock } = setUp(endless(), { sockets: { sendBytesMax: 1000 } });
    const socket = await open(new FakeSocket(false));
    Object.defineProperty(socket, "bufferedAmount", {
      get: () => socket.bytes,
      configurable: true,
    });
    socket.tell(PROMPT);
    await socket.when(() => socket.bytes >= 1000);
    const seen = socket.messages.length;
    socket.bytes = 0;
    await socket.when(() => socket.messages.length > seen + 3);
    socket.session.onClose();
    await mock.until(() => mock.active === 0);
  });

  it("leaves its streams when it closes, as on_disconnect says", async () => {
    const { open, mock, handler } = setUp(endless(never));
    const socket = await open();
    socket.tell(PROMPT);
    socket.tell({ ...PROMPT, on_disconnect: "continue" });
    await socket.next("metadata", 2);
    expect(handler.streams.readers).toBe(2);
    socket.session.onClose();
    socket.session.onClose();
    await mock.until(() => mock.active === 1);
    expect(handler.streams.readers).toBe(0);
    expect(mock.aborted).toBe(1);
    socket.tell({ type: "ping" });
    expect(socket.of("pong")).toEqual([]);
    await handler.drain();
  });

  it("cancels a stream whose socket closes before it has begun", async () => {
    const gate = Promise.withResolvers<void>();
    const { open, mock } = setUp(() => [gate.promise, START, never()]);
    const socket = await open();
    socket.tell(PROMPT);
    await mock.until(() => mock.active === 1);
    socket.session.onClose();
    gate.resolve();
    await mock.until(() => mock.active === 0);
    expect(socket.messages).toEqual([]);
  });

  it("stops a stream, with its terminal event", async () => {
    const { open } = setUp(endless(never));
    const socket = await open();
    socket.tell(PROMPT);
    const { stream } = await socket.next("metadata");
    socket.tell({ type: "stop", stream });
    const end = await socket.next("complete");
    expect(end).toMatchObject({ stream, completion_reason: "Generation cancelled" });
    socket.tell({ type: "stop", stream: "none" });
    expect(await socket.next("error")).toMatchObject({ stream: "none", error_type: "validation" });
    socket.session.onClose();
  });

  it("resumes a stream after any message", async () => {
    const several = token("cd", 2, { ids: [7, 8, 9] });
    const whole = [...saying("ab", "x", "ef")({ prompt: "" })];
    const { open } = setUp(() => [...whole.slice(0, 2), several, ...whole.slice(3)]);
    const first = await open();
    first.tell(PROMPT);
    const { stream } = await first.next("complete");
    const events = first.messages.slice(1);
    expect(events.map(({ id }) => String(id).split(":")[1])).toEqual([
      "1",
      "2.1",
      "2.2",
      "2",
      "3",
      "5",
    ]);
    for (let i = 0; i <= events.length; i++) {
      const socket = await open();
      const from = i === 0 ? undefined : events[i - 1]!["id"];
      socket.tell({ type: "resume", stream, from });
      await socket.next("complete");
      // One that has everything gets the end again.
      expect(socket.messages.slice(1)).toEqual(events.slice(Math.min(i, events.length - 1)));
      socket.session.onClose();
    }
    first.tell({ type: "resume", stream, from: 3 });
    await first.next("complete", 2);
    expect(first.messages.at(-1)).toEqual(events.at(-1)!);
    first.session.onClose();
  });

  it("refuses to resume what is not its business", async () => {
    const { open } = setUp(endless(never));
    const socket = await open(new FakeSocket(), { authorization: "Bearer a" });
    const mine = await open();
    mine.tell(PROMPT);
    const { stream } = await mine.next("metadata");
    socket.tell({ type: "resume", stream });
    expect((await socket.next("error"))["message"]).toContain("there is none of that id");
    mine.tell({ type: "resume", stream });
    expect((await mine.next("error"))["message"]).toContain("this socket reads it already");
    mine.tell({ type: "resume", stream, from: "x" });
    await mine.next("error", 2);
    mine.tell({ type: "resume" });
    expect(await mine.next("error", 3)).toMatchObject({ fields: [{ field: "stream" }] });
    mine.session.onClose();
    socket.session.onClose();
  });

  it("reads a stream of any route, always in its own language", async () => {
    const { open, handler } = setUp(saying("a", "b", "c"));
    const messages = [{ role: "user", content: "x" }];
    const bodies = [
      ["/v1/completions", { prompt: "x", stream: true }],
      ["/v1/chat/completions", { messages }],
    ] as const;
    for (const [path, body] of bodies) {
      const url = `http://localhost${path}`;
      const response = await handler(
        new Request(url, { method: "POST", body: JSON.stringify(body) }),
      );
      await response.text();
      const stream = response.headers.get("x-stream-id");
      const socket = await open();
      socket.tell({ type: "resume", stream, from: 1 });
      await socket.next("complete");
      expect(socket.of("token")).toMatchObject([
        { stream, seq: 2, token: "b", token_id: 102, position: 2 },
        { stream, seq: 3, token: "c", token_id: 103, position: 3 },
      ]);
      socket.session.onClose();
    }
  });

  it("attaches a second request with the same idempotency key, and refuses another body", async () => {
    const { open, mock } = setUp(endless(never));
    const [a, b] = [await open(), await open()];
    a.tell({ ...PROMPT, idempotency_key: "k" });
    b.tell({ ...PROMPT, idempotency_key: "k" });
    const { stream } = await a.next("metadata");
    expect((await b.next("metadata"))["stream"]).toBe(stream);
    expect(mock.requests.length).toBe(1);
    b.tell({ ...PROMPT, prompt: "other", idempotency_key: "k", request_id: "r" });
    expect(await b.next("error")).toMatchObject({ request_id: "r", error_type: "validation" });
    a.tell({ ...PROMPT, idempotency_key: "k" });
    expect((await a.next("error"))["message"]).toContain("this socket reads it already");
    b.session.onClose();
    expect(mock.active).toBe(1);
    a.session.onClose();
    await mock.until(() => mock.active === 0);
  });

  it.each([
    ["not JSON", "{", /not valid JSON/],
    ["no object", "[1]", /expected a JSON object/],
    ["nested too deep", `{"a":${"[".repeat(100)}${"]".repeat(100)}}`, /nested deeper/],
    ["no type", "{}", /its type is unknown/],
    ["an unknown type", '{"type":"x"}', /its type is unknown/],
    ["a request without a prompt", '{"type":"request"}', /prompt/],
    [
      "a bad idempotency key",
      '{"type":"request","prompt":"x","idempotency_key":""}',
      /idempotency_key/,
    ],
    ["a bad request id", '{"type":"request","prompt":"x","request_id":7}', /request_id/],
    ["a bad cursor", '{"type":"resume","stream":"x","from":{}}', /from/],
    ["an unknown stream", '{"type":"resume","stream":"x"}', /there is none/],
  ])("answers %s with an error and stays open", async (_name, text, message) => {
    const { open, reported } = setUp(saying("x"));
    const socket = await open();
    socket.tell(text);
    const error = await socket.next("error");
    expect(error["error_type"]).toBe("validation");
    expect(JSON.stringify(error)).toMatch(message);
    socket.tell({ type: "pong" });
    socket.tell({ type: "ping" });
    expect(socket.messages.at(-1)).toEqual({ type: "pong" });
    expect(socket.closed).toBe(undefined);
    expect(reported).toEqual([]);
    socket.session.onClose();
  });

  it("answers a binary message with an error", async () => {
    const socket = await setUp(saying("x")).open();
    socket.session.onMessage(new Uint8Array(3));
    expect((await socket.next("error"))["message"]).toContain("it is binary, expected text");
    socket.session.onClose();
  });

  it("closes with 1009 after a message that has too many bytes", async () => {
    const { open } = setUp(saying("x"), { sockets: { messageBytesMax: 100 } });
    const socket = await open();
    socket.tell(JSON.stringify({ type: "ping", more: "é".repeat(36) }));
    expect(socket.of("pong").length).toBe(1);
    socket.tell(JSON.stringify({ type: "ping", more: "é".repeat(40) }));
    expect(socket.closed).toEqual({ code: 1009, reason: "a message may have 100 bytes" });
  });

  it("refuses more streams than a socket may have, and takes one again when one has ended", async () => {
    const { open } = setUp(endless(never), { sockets: { streamsMax: 2 } });
    const socket = await open();
    for (let i = 0; i < 3; i++) socket.tell({ ...PROMPT, request_id: String(i) });
    expect(await socket.next("error")).toMatchObject({
      request_id: "2",
      error_type: "overloaded",
      retry_after_s: 1,
    });
    const { stream } = await socket.next("metadata", 2);
    socket.tell({ type: "stop", stream });
    await socket.next("complete");
    for (let i = 0; i < 20; i++) await Promise.resolve();
    socket.tell(PROMPT);
    await socket.next("metadata", 3);
    socket.session.onClose();
  });

  it("closes with 1001 when idle, but not while a stream runs", async () => {
    const { open } = setUp(endless(never), { sockets: { idleMs: 20 } });
    const [idle, busy] = [await open(), await open()];
    busy.tell(PROMPT);
    const { stream } = await busy.next("metadata");
    await idle.when(() => idle.closed !== undefined);
    expect(idle.closed).toEqual({ code: 1001, reason: "idle" });
    expect(busy.closed).toBe(undefined);
    busy.tell({ type: "stop", stream });
    await busy.when(() => busy.closed !== undefined);
    expect(busy.closed).toEqual({ code: 1001, reason: "idle" });
  });

  it("stays open without end where the idle time is 0", async () => {
    const { open } = setUp(saying("x"), { sockets: { idleMs: 0 } });
    const [idle, other] = [await open(), await open()];
    other.tell(PROMPT);
    await other.next("complete");
    idle.tell({ type: "ping" });
    expect(idle.closed).toBe(undefined);
    for (const socket of [idle, other]) socket.session.onClose();
  });

  it("closes with 1008 a client that makes replies without reading them", async () => {
    const { open } = setUp(saying("x"), { sockets: { sendBytesMax: 100 } });
    const socket = await open();
    for (let i = 0; i < 20; i++) socket.tell({ type: "ping" });
    expect(socket.of("pong").length).toBe(20);
    socket.bufferedAmount = 100;
    for (let i = 0; i < 20; i++) socket.tell({ type: "ping" });
    expect(socket.of("pong").length).toBeLessThan(30);
    expect(socket.closed).toEqual({ code: 1008, reason: "the client does not read" });
  });

  it("pings while a stream is silent, and not a client that does not read", async () => {
    const { open } = setUp(endless(never), { keepAliveMs: 5 });
    const socket = await open();
    socket.tell(PROMPT);
    await socket.next("ping", 3);
    socket.bufferedAmount = SOCKET_DEFAULTS.sendBytesMax;
    const { length } = socket.messages;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(socket.messages.length).toBe(length);
    socket.bufferedAmount = 0;
    await socket.next("ping", length);
    socket.session.onClose();
  });

  it("tells the client when its reader is put out", async () => {
    const { open, handler } = setUp(endless(never), { streams: { subscriberMs: 10 } });
    const socket = await open();
    socket.tell({ ...PROMPT, on_disconnect: "pause" });
    const { stream } = await socket.next("metadata");
    expect(await socket.next("error")).toMatchObject({ stream, error_type: "overloaded" });
    expect(handler.streams).toMatchObject({ readers: 0, running: 1, expiredReaders: 1 });
    socket.session.onClose();
    await handler.drain();
  });

  it("tells refusals in the envelope that the request asked for, and reports failures", async () => {
    const { open, reported } = setUp(() => [new Error("secret")]);
    const socket = await open();
    socket.tell({ ...PROMPT, detailed_errors: true, request_id: "r" });
    expect(await socket.next("error")).toMatchObject({ request_id: "r", error_type: "internal" });
    expect(JSON.stringify(socket.messages)).not.toContain("secret");
    expect(reported.length).toBe(1);
    socket.session.onClose();
  });
});

describe("Handler.drain() with sockets", () => {
  it("sends what ends, says that the server stops, and closes with 1001", async () => {
    const { open, handler, upgrade } = setUp(endless(never));
    const [busy, idle] = [await open(), await open()];
    busy.tell(PROMPT);
    await busy.next("metadata");
    const late = await upgrade();
    await handler.drain();
    for (const socket of [busy, idle]) {
      expect(socket.messages.at(-1)).toEqual({ type: "shutdown" });
      expect(socket.closed).toEqual({ code: 1001, reason: "the server stops" });
    }
    expect(busy.messages.map(({ type }) => type)).toEqual(["metadata", "complete", "shutdown"]);
    expect(((await upgrade()) as Response).status).toBe(429);
    const socket = new FakeSocket();
    if (typeof late === "function") late(socket);
    await socket.next("shutdown");
    await socket.when(() => socket.closed?.code === 1001);
  });
});
