/**
 * WebSockets with each adapter: the handshake, the client, the end.
 */
import { afterEach, describe, expect, it } from "bun:test";
import { connect } from "node:net";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import type { HandlerOptions } from "../../src/server/mod.ts";
import { HANDSHAKE, Inbox, PROMPT, setUp } from "../support/fake_socket.ts";
import { endless, saying, type Script, START, token } from "../support/mock_generator.ts";
import { RawClient } from "../support/raw_client.ts";
import { ADAPTERS } from "../support/serve_here.ts";

const never = (): Promise<never> => new Promise(() => undefined);

describe("Handler.upgrade()", () => {
  it.each([
    ["a plain request", { upgrade: "" }, "/v1/stream", "GET"],
    ["another protocol", { upgrade: "h2c" }, "/v1/stream", "GET"],
    ["a POST", {}, "/v1/stream", "POST"],
    ["another path", {}, "/v1/completions", "GET"],
  ])("leaves %s to the handler", async (_name, headers, path, method) => {
    expect(await setUp(saying("x")).upgrade(headers, path, method)).toBe(undefined);
  });

  it.each([
    ["a host of another name", { host: "evil.test" }, 403],
    ["a page of another site", { "sec-fetch-site": "cross-site" }, 403],
    ["a page of another origin", { origin: "http://evil.test" }, 403],
    ["a page of another port", { origin: "http://localhost:8080" }, 403],
    ["a page without an origin", { origin: "null" }, 403],
    ["no key", { "sec-websocket-key": "" }, 400],
    ["another version", { "sec-websocket-version": "8" }, 400],
    ["no connection header", { connection: "close" }, 400],
  ])("refuses %s", async (_name, headers, status) => {
    const response = await setUp(saying("x")).upgrade(headers as Record<string, string>);
    expect((response as Response).status).toBe(status);
    expect(await (response as Response).json()).toMatchObject({ error_type: "validation" });
  });

  it("takes a page of its own origin, and a client without one", async () => {
    const { upgrade } = setUp(saying("x"));
    expect(typeof await upgrade({ origin: "http://localhost" })).toBe("function");
    expect(typeof await upgrade()).toBe("function");
  });

  it("checks the limits of sockets", () => {
    expect(() => setUp(saying("x"), { sockets: { streamsMax: 0 } })).toThrow(/sockets.streamsMax/);
    expect(() => setUp(saying("x"), { sockets: { idleMs: -1 } })).toThrow(/sockets.idleMs/);
  });
});

/** A client of the runtime. */
class Client extends Inbox {
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    super();
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.push(data));
    socket.addEventListener("close", ({ code, reason }) => {
      this.closed = { code, reason };
      this.check();
    });
  }

  static async open({ url }: RunningServer): Promise<Client> {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream`);
    const client = new Client(socket);
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", reject);
    });
    return client;
  }

  tell(message: unknown): void {
    this.#socket.send(JSON.stringify(message));
  }

  /** Sends something that is no JSON text. */
  raw(data: string | Uint8Array<ArrayBuffer>): void {
    this.#socket.send(data);
  }

  async close(): Promise<void> {
    this.#socket.close();
    await this.when(() => this.closed !== undefined);
  }
}

describe.each(ADAPTERS)("serve() on %s with WebSockets", (_name, serveWith) => {
  let server: RunningServer | undefined;
  afterEach(async () => {
    await server?.stop();
    server = undefined;
  });

  async function serve(script: Script, options: HandlerOptions = {}) {
    const { handler, mock, reported } = setUp(script, options);
    server = await serveWith(handler);
    return { server, mock, handler, reported };
  }

  it("answers requests, pings and errors", async () => {
    const { server } = await serve(saying("Hello", " world"));
    const client = await Client.open(server);
    client.tell(PROMPT);
    await client.next("complete");
    expect(client.of("token").map((message) => message["token"]).join("")).toBe("Hello world");
    client.tell({ type: "ping" });
    await client.next("pong");
    client.raw(new Uint8Array(3));
    await client.next("error");
    const { stream } = client.messages[0]!;
    const other = await Client.open(server);
    other.tell({ type: "resume", stream, from: 1 });
    await other.next("complete");
    expect(other.of("token").map(({ seq }) => seq)).toEqual([2]);
    await client.close();
    await other.close();
  });

  it("frees the generation of a client that goes", async () => {
    const { server, mock, handler } = await serve(endless(never));
    const client = await Client.open(server);
    client.tell(PROMPT);
    await client.next("metadata");
    await client.close();
    await mock.until(() => mock.active === 0);
    expect(mock.aborted).toBe(1);
    expect(handler.streams.readers).toBe(0);
  });

  it("closes with 1009 after a message that is too large", async () => {
    const { server } = await serve(saying("x"));
    const client = await Client.open(server);
    client.raw("x".repeat((1 << 20) + 1));
    await client.when(() => client.closed !== undefined);
    expect(client.closed?.code).toBe(1009);
  });

  it("delivers far more than its send queue holds, in order and whole", async () => {
    const text = "x".repeat(10_000);
    const { server } = await serve(saying(...Array.from({ length: 1000 }, () => text)));
    const client = await Client.open(server);
    client.tell(PROMPT);
    await client.next("complete");
    const tokens = client.of("token");
    expect(tokens.map(({ seq }) => seq)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    expect(tokens.every((message) => message["token"] === text)).toBe(true);
    await client.close();
  });

  it("ends sockets when the server stops", async () => {
    const { server, mock } = await serve(endless(never));
    const [busy, idle] = [await Client.open(server), await Client.open(server)];
    busy.tell(PROMPT);
    await busy.next("metadata");
    await server.stop();
    for (const client of [busy, idle]) {
      await client.when(() => client.closed !== undefined);
      expect(client.messages.at(-1)).toEqual({ type: "shutdown" });
      expect(client.closed?.code).toBe(1001);
    }
    expect(busy.of("complete").length).toBe(1);
    expect(mock.active).toBe(0);
  });

  it("refuses a handshake as the handler does, and GET without one stays 405", async () => {
    const { server } = await serve(saying("x"));
    expect((await fetch(`${server.url}/v1/stream`)).status).toBe(405);
    const client = await RawClient.open(server.port);
    const head = Object.entries({ ...HANDSHAKE, origin: "http://evil.test" })
      .map(([name, value]) => `${name}: ${value}\r\n`).join("");
    client.send(`GET /v1/stream HTTP/1.1\r\n${head}\r\n`);
    await client.until("another origin");
    expect(client.received).toMatch(/^HTTP\/1.1 403 /);
    client.leave("fin");
  });

  it("stops a generation whose client does not read, and goes on when it does", async () => {
    const text = "x".repeat(1 << 18);
    const { server, mock } = await serve(function* () {
      yield START;
      for (let seq = 1;; seq++) yield token(text, seq);
    });
    const client = connect(server.port, "127.0.0.1");
    client.on("error", () => undefined);
    const head = Object.entries(HANDSHAKE).map(([name, value]) => `${name}: ${value}\r\n`).join("");
    client.write(`GET /v1/stream HTTP/1.1\r\n${head}\r\n`);
    await new Promise((resolve) => client.once("data", resolve));
    client.pause();
    client.write(masked(JSON.stringify(PROMPT)));
    await mock.until(() => mock.events > 2);
    let last = -1;
    while (last !== mock.events) {
      last = mock.events;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(mock.events).toBeLessThan(100);
    client.on("data", () => undefined).resume();
    await mock.until(() => mock.events > last + 20);
    client.resetAndDestroy();
    await mock.until(() => mock.active === 0);
  });
});

/** A short text message as a client frames it, with a mask of zeros. */
function masked(text: string): Uint8Array {
  const payload = new TextEncoder().encode(text);
  return new Uint8Array([0x81, 0x80 | payload.length, 0, 0, 0, 0, ...payload]);
}
