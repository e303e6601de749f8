import { describe, expect, test } from "bun:test";
import { EngineError } from "../../src/errors.ts";
import { Live } from "../../src/engine/live.ts";

describe("Live", () => {
  test("gives tokens in order, those that came before the wait and those that come during it", async () => {
    const live = new Live(1);
    live.push(7, undefined);
    expect(await live.next()).toEqual({ token: 7, finish: undefined });
    const waiting = live.next();
    live.push(8, "length");
    expect(await waiting).toEqual({ token: 8, finish: "length" });
    expect(live.ended).toBe(true);
  });

  test("lets a cancellation overtake what is queued and wake who waits", async () => {
    const live = new Live(1);
    const waiting = live.next();
    live.end({ cancelled: true });
    live.push(7, undefined);
    expect(await waiting).toEqual({ cancelled: true });
    expect(await live.next()).toEqual({ cancelled: true });
  });

  test("keeps its first end", async () => {
    const live = new Live(1);
    const error = new EngineError("Cannot go on: it broke");
    live.end({ error });
    live.end({ cancelled: true });
    expect(await live.next()).toEqual({ error });
  });

  test("gives the newest notice that it was asked for, once, and none after a token", async () => {
    const live = new Live(1, { seed: 0 }, ["queue"]);
    live.tell({ type: "queue", position: 2 });
    live.tell({ type: "queue", position: 1 });
    live.tell({ type: "prefill", totalTokens: 5, cachedTokens: 0, computedTokens: 0 });
    expect(await live.next()).toEqual({ type: "queue", position: 1 });
    live.tell({ type: "queue", position: 1 });
    const waiting = live.next();
    live.push(7, undefined);
    expect(await waiting).toEqual({ token: 7, finish: undefined });
    live.tell({ type: "queue", position: 3 });
    live.push(8, undefined);
    expect(await live.next()).toEqual({ token: 8, finish: undefined });
    live.push(9, undefined);
    expect(await live.next()).toEqual({ token: 9, finish: undefined });
  });
});
