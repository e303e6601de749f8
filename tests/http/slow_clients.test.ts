/**
 * Slow clients beside normal ones: the normal ones do not notice, and the slow ones are cut off
 * where the adapter can; with the adapter that the runtime takes for strangers.
 */
import { describe, expect, it } from "bun:test";
import { connect, type Socket } from "node:net";
import { adapterFor } from "../../src/cli/adapter.ts";
import { startAbused } from "../support/abused_server.ts";
import { RawClient } from "../support/raw_client.ts";

const SLOW_HEADERS = 500;
const SLOW_BODIES = 100;
const ROUNDS = 4;
const REQUESTS = 150;
/** Below it a difference is that of the machine. */
const NOISE_MS = 5;
/** Time-outs of headers and bodies, and the pause between two looks for them. */
const CUT_MS = 15_000;

const BODY = '{"prompt":"Hi"}';
const HEAD = "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\n";

function p99(times: number[]): number {
  return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? NaN;
}

/** Milliseconds of whole answers, one after the other on one connection. */
async function timesOf(client: RawClient): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < REQUESTS; i++) {
    const ends = client.received.split("completed_normally").length;
    const startMs = performance.now();
    client.send(`${HEAD}Content-Length: ${BODY.length}\r\n\r\n${BODY}`);
    await client.when(() => client.received.split("completed_normally").length > ends);
    times.push(performance.now() - startMs);
    client.received = "";
  }
  return times;
}

/** Clients that send their first bytes and then one at a time. */
class Crowd {
  readonly #sockets: Socket[] = [];
  #open = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  static async come(port: number): Promise<Crowd> {
    const crowd = new Crowd();
    const firsts = [
      ...Array.from({ length: SLOW_HEADERS }, () => "GET /health HTTP/1.1\r\nX: "),
      ...Array.from({ length: SLOW_BODIES }, () => `${HEAD}Content-Length: 100000\r\n\r\n`),
    ];
    for (const first of firsts) await crowd.#add(port, first);
    crowd.#timer = setInterval(() => {
      for (const socket of crowd.#sockets) if (socket.writable) socket.write(" ");
    }, 500);
    return crowd;
  }

  /** How many of them the server has not closed. */
  get open(): number {
    return this.#open;
  }

  leave(): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
  }

  #add(port: number, first: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => {
        this.#open++;
        socket.on("close", () => this.#open--);
        socket.write(first);
        resolve();
      });
      socket.on("error", reject).resume();
      this.#sockets.push(socket);
    });
  }
}

describe("serve() with the adapter for strangers", () => {
  it(
    "keeps the p99 of normal requests under 2 x with 600 slow clients, and cuts those",
    async () => {
      const name = adapterFor("0.0.0.0") === "node" ? "node" : "own";
      await using server = await startAbused(name);
      const client = await RawClient.open(server.port);
      await timesOf(client);
      const undisturbed: number[] = [];
      const disturbed: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        undisturbed.push(...await timesOf(client));
        const crowd = await Crowd.come(server.port);
        expect(crowd.open).toBe(SLOW_HEADERS + SLOW_BODIES);
        disturbed.push(...await timesOf(client));
        const comeMs = performance.now();
        // The last crowd is waited for; the others need not be.
        const isLast = round === ROUNDS - 1;
        while (isLast && crowd.open > SLOW_BODIES && performance.now() - comeMs < CUT_MS) {
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        if (isLast) expect(crowd.open).toBeLessThanOrEqual(SLOW_BODIES);
        crowd.leave();
      }
      expect(p99(disturbed)).toBeLessThan(2 * Math.max(p99(undisturbed), NOISE_MS));
      client.leave("fin");
    },
    60_000,
  );
});
