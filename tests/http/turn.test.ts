/** Readers that catch up share the event loop with everybody else. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../src/server/handler.ts";
import { Turn } from "../../src/server/turn.ts";
import { complete, MockGenerator, START, token } from "../support/mock_generator.ts";

/** Counts how often the event loop fires a timer while something runs. */
async function beatsWhile(run: () => Promise<unknown>): Promise<number> {
  let beats = 0;
  const timer = setInterval(() => beats++, 0);
  try {
    await run();
  } finally {
    clearInterval(timer);
  }
  return beats;
}

describe("Turn", () => {
  /** Takes so many strides; tells whose each was. */
  const takeAll = async (turn: Turn, name: string, n: number, order: string[]): Promise<void> => {
    const reader = {};
    for (let i = 0; i < n; i++) {
      await turn.take(reader);
      order.push(name);
    }
  };

  it("is one reader's for 32 strides, then the next one's in the order of asking", async () => {
    const turn = new Turn();
    const order: string[] = [];
    await Promise.all(["a", "b", "c"].map((name) => takeAll(turn, name, 40, order)));
    const runs = order.join("").match(/(.)\1*/g)!.map((run) => `${run[0]}${run.length}`);
    expect(runs).toEqual(["a32", "b32", "c32", "a8", "b8", "c8"]);
  });

  it("passes on where its reader asks for no more", async () => {
    const turn = new Turn();
    await turn.take({});
    await turn.take({});
  });

  it("lets the event loop run between two", async () => {
    expect(await beatsWhile(() => takeAll(new Turn(), "a", 320, []))).toBeGreaterThanOrEqual(5);
  });
});

describe("a stream that is read again", () => {
  const read = async (events: number): Promise<number> => {
    const tokens = Array.from({ length: events }, (_, i) => token("t", i + 1));
    const mock = new MockGenerator(() => [START, ...tokens, complete(events)]);
    const handler = createHandler(mock, { streams: { logBytesMax: 64 << 20 } });
    const headers = { host: "localhost" };
    const body = JSON.stringify({ prompt: "Hi" });
    const made = await handler(
      new Request("http://localhost/v1/stream", { method: "POST", headers, body }),
    );
    await made.arrayBuffer();
    const url = `http://localhost/v1/streams/${made.headers.get("x-stream-id")}`;
    return await beatsWhile(async () => {
      const text = await (await handler(new Request(url, { headers }))).text();
      expect(text.match(/^event: token$/gm)?.length).toBe(events);
    });
  };

  it("lets the event loop run while it is long", async () => {
    expect(await read(32 * 64 * 4)).toBeGreaterThanOrEqual(2);
  });
});
