/** A server without file descriptors: it lives, and serves again as soon as there are some. */
import { describe, expect, it } from "bun:test";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { platform } from "node:process";
import { type AbusedServer, startAbused } from "../support/abused_server.ts";

const DESCRIPTORS = 256;
const CLIENTS = 1000;
/** How soon it must serve again. */
const AGAIN_MS = 2000;
/** How long a client waits for its connection. */
const PATIENCE_MS = 1500;

/** Status of a request of a client that waits for a while. */
async function statusOf({ url }: AbusedServer, patienceMs: number): Promise<number | undefined> {
  try {
    const signal = AbortSignal.timeout(patienceMs);
    const response = await fetch(`${url}/health`, { signal, headers: { connection: "close" } });
    await response.arrayBuffer();
    return response.status;
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** Clients that begin a request and leave it at that. */
async function crowd({ port }: AbusedServer): Promise<Socket[]> {
  const settled: Promise<unknown>[] = [];
  const sockets = Array.from({ length: CLIENTS }, () => {
    const socket = connect(port, "127.0.0.1", () => socket.write("GET /health HTTP/1.1\r\n"));
    socket.on("error", () => undefined);
    const events = [once(socket, "connect"), once(socket, "close")];
    settled.push(Promise.race(events).catch(() => undefined));
    return socket;
  });
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  await Promise.race([Promise.all(settled), late]);
  return sockets;
}

async function servesAgain(server: AbusedServer): Promise<void> {
  const startMs = performance.now();
  let status: number | undefined;
  while (status === undefined && performance.now() - startMs < 10 * AGAIN_MS) {
    status = await statusOf(server, 250);
  }
  expect([status, server.isOver]).toEqual([200, false]);
  expect(performance.now() - startMs).toBeLessThan(AGAIN_MS);
}

describe.each(["own", "node"] as const)("serve() on the adapter %s", (name) => {
  it.skipIf(platform === "win32")(
    "serves again within 2 s when 1000 clients have used up its descriptors (needs ulimit)",
    async () => {
      await using server = await startAbused(name, DESCRIPTORS);
      expect(await statusOf(server, 5000)).toBe(200);
      const sockets = await crowd(server);
      expect([server.isOver, server.words]).toEqual([false, ""]);
      // There is room for more connections than clients get, so it goes on serving.
      // Whose connection is refused at first has to come again, as the clients of the crowd do.
      let during = name === "node" ? undefined : 200;
      for (let i = 0; i < 5 && during === undefined; i++) during = await statusOf(server, 3000);
      expect(during).toBe(200);
      for (const socket of sockets) socket.destroy();
      await servesAgain(server);
    },
    60_000,
  );

  it.skipIf(platform === "win32")(
    "serves again within 2 s when something else has used them up (needs ulimit)",
    async () => {
      await using server = await startAbused(name, DESCRIPTORS);
      expect(await statusOf(server, 5000)).toBe(200);
      for (let round = 1; round <= 2; round++) {
        await server.hoard(true);
        expect(await statusOf(server, 1000)).toBe(undefined);
        await server.hoard(false);
        await servesAgain(server);
      }
    },
    60_000,
  );
});
