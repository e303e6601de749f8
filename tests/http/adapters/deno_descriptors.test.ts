/** A server that hears nothing any more; that Deno's does so is shown by `descriptors.test.ts`. */
import { describe, expect, it } from "bun:test";
import { type AddressInfo, connect, createServer } from "node:net";
import { keepListening, readySignals } from "../../../src/server/adapters/deno_descriptors.ts";

const HOSTNAME = "127.0.0.1";

/** A server whose connections are told only while it is not deaf, and how often it began anew. */
async function start() {
  const tcp = createServer((socket) => socket.on("error", () => undefined).resume());
  await new Promise<void>((resolve) => tcp.listen(0, HOSTNAME, resolve));
  const { port } = tcp.address() as AddressInfo;
  let isDeaf = false;
  let isLast = false;
  let closed = 0;
  const tell: ((socket: { remotePort?: number | undefined }) => void)[] = [];
  tcp.on("connection", ({ remotePort }) => {
    const socket = { remotePort: isLast ? 1 : remotePort };
    if (!isDeaf) { for (const listener of tell) listener(socket); }
    isDeaf ||= isLast;
  });
  const again = Promise.withResolvers<void>();
  const end = keepListening(
    {
      on: (_event, listener) => tell.push(listener),
      close: () => closed++,
    },
    { hostname: HOSTNAME, port },
    () => {
      isDeaf = false;
      isLast = false;
      again.resolve();
      return Promise.resolve();
    },
  );
  const visit = () =>
    new Promise<void>((resolve) => {
      const socket = connect(port, HOSTNAME, () => {
        socket.destroy();
        resolve();
      });
    });
  return {
    visit,
    again: again.promise,
    closed: () => closed,
    deafen: () => isDeaf = true,
    /** Somebody else comes in place of the next visitor, and then it is deaf. */
    deafenAfterNext: () => isLast = true,
    async stop() {
      end();
      await new Promise((resolve) => tcp.close(resolve));
    },
  };
}

describe("keepListening()", () => {
  it("lets a server listen again that accepts nothing", async () => {
    const server = await start();
    await server.visit();
    server.deafen();
    await server.again;
    expect(server.closed()).toBe(1);
    await server.stop();
  });

  it("does not take the connection of another for the one that it asked for", async () => {
    const server = await start();
    await server.visit();
    server.deafenAfterNext();
    await server.again;
    expect(server.closed()).toBe(1);
    await server.stop();
  });

  it("leaves one alone that accepts, and one that nobody came to", async () => {
    const [busy, idle] = [await start(), await start()];
    await busy.visit();
    idle.deafen();
    await new Promise((resolve) => setTimeout(resolve, 1800));
    expect([busy.closed(), idle.closed()]).toEqual([0, 0]);
    await busy.stop();
    await idle.stop();
  });
});

describe("readySignals()", () => {
  it("leaves no listener behind, and can be called again", () => {
    readySignals();
    expect(readySignals()).toBe(undefined);
  });
});
