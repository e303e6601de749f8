/** What an adapter hears of the end of a body, and the socket of a client that does not read. */
import { afterEach, describe, expect, it } from "bun:test";
import { readFileSync } from "node:fs";
import { platform } from "node:process";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { endingOf } from "../../src/server/ending.ts";
import { complete, endless, saying, type Script, START, token } from "../support/mock_generator.ts";
import { RawClient } from "../support/raw_client.ts";
import { ChunkReader, get, post } from "../support/requests.ts";
import { ADAPTERS, serveHere } from "../support/serve_here.ts";
import { serve } from "../support/stream_requests.ts";

const PROMPT = { prompt: "Hi" };
const SOCKET = { host: "localhost" };
const never = (): Promise<never> => new Promise(() => undefined);

/** What the ending of a response is told. */
function heardOf(response: Response): boolean[] {
  const heard: boolean[] = [];
  const ending = endingOf(response);
  if (ending === undefined) throw new Error("its body is not made while it is read");
  ending.onEnd = (isStalled) => heard.push(isStalled);
  return heard;
}

describe("endingOf()", () => {
  const chat = { messages: [{ role: "user", content: "Hi" }] };
  it.each(
    [
      ["a stream", "/v1/stream", PROMPT],
      ["an answer in one piece", "/v1/chat/completions", chat],
    ] as const,
  )("is told once that %s ends", async (_name, path, body) => {
    for (const headers of [SOCKET, {}]) {
      for (const script of [saying("a"), () => [START, new Error("secret")]] as Script[]) {
        const { handler } = serve(script);
        const response = await handler(post(path, body, headers));
        const heard = heardOf(response);
        await response.text().catch(() => "cut");
        expect(heard).toEqual([false]);
      }
    }
  });

  it("is told of a client that does not read, and not of one that goes", async () => {
    const { handler, mock } = serve(endless(), { streams: { stallMs: 60 } });
    const stalled = await handler(post("/v1/stream", PROMPT, SOCKET));
    const heard = heardOf(stalled);
    const chunks = new ChunkReader(stalled);
    await chunks.next();
    await chunks.next();
    await mock.until(() => mock.active === 0);
    expect(heard).toEqual([true]);
    expect(await chunks.next()).toBe(undefined);
    const gone = await handler(post("/v1/stream", PROMPT, SOCKET));
    const heardOfGone = heardOf(gone);
    await gone.body!.cancel();
    expect(heardOfGone).toEqual([]);
  });

  it("is told that a client that reads has to connect again", async () => {
    const { handler } = serve(endless(never), { streams: { subscriberMs: 60 } });
    const response = await handler(post("/v1/stream", PROMPT, SOCKET));
    const heard = heardOf(response);
    await response.text();
    expect(heard).toEqual([false]);
  });

  it("knows no body that is there at once", async () => {
    const { handler } = serve(saying("a"));
    for (const request of [get("/health"), post("/v1/stream", {})]) {
      expect(endingOf(await handler(request))).toBe(undefined);
    }
  });
});

/** States of the server's ends of the connections to a port, as the kernel names them. */
function statesOf(port: number): string[] {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = readFileSync("/proc/net/tcp", "utf8").split("\n").map((row) =>
    row.trim().split(" ")
  );
  return rows.filter((row) => row[1]?.endsWith(local)).map((row) => row[3]!);
}

describe.each(ADAPTERS)("a client of %s that does not read", (_name, serveWith) => {
  const ESTABLISHED = "01";
  let server: RunningServer | undefined;
  afterEach(async () => {
    await server?.stop();
    server = undefined;
  });

  /** A client that was put out while the kernel's buffers were full. */
  async function stalled() {
    const text = "x".repeat(1 << 20);
    const script: Script = function* () {
      yield START;
      for (let seq = 1;; seq++) yield token(text, seq);
    };
    const { handler, mock } = serve(script, { streams: { stallMs: 200 } });
    server = await serveWith(handler);
    const client = await RawClient.open(server.port);
    client.pause();
    await client.post("/v1/stream", PROMPT);
    await mock.until(() => mock.aborted === 1 && mock.active === 0);
    expect(handler.streams).toMatchObject({ stalledReaders: 1, readers: 0 });
    return { client, server, mock };
  }

  it.skipIf(platform !== "linux")(
    "loses its connection, but of Deno.serve, which can close none (needs the /proc of Linux)",
    async () => {
      const { client, server } = await stalled();
      const isHeld = (): boolean => statesOf(server.port).includes(ESTABLISHED);
      const canClose = !("Deno" in globalThis) || serveWith !== serveHere;
      while (canClose && isHeld()) await new Promise((resolve) => setTimeout(resolve, 50));
      expect(client.isClosed).toBe(false);
      client.resume();
      // The end of the body, which was never sent where the connection was closed before.
      const end = "\r\n0\r\n\r\n";
      await (canClose ? client.closed() : client.until(end));
      expect([client.received.endsWith(end), isHeld()]).toEqual([!canClose, !canClose]);
      expect(client.received).not.toContain("event: complete");
      client.leave("fin");
    },
    20_000,
  );

  it("holds up nobody else", async () => {
    const { client, mock, server } = await stalled();
    mock.script = () => [START, token("a", 1), complete(1)];
    const response = await fetch(`${server.url}/v1/stream`, {
      method: "POST",
      body: JSON.stringify(PROMPT),
    });
    expect(await response.text()).toContain("event: complete");
    client.leave("rst");
  });
});
