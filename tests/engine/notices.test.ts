/** With a real model: what a request is told that waits for others, and when its prompt begins. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type GenerateRequest, load, type Model } from "../../mod.ts";

const endless: GenerateRequest = { prompt: "Once upon a time", ignoreEos: true };
const asking: GenerateRequest = { ...endless, maxTokens: 2, events: ["queue", "prefill"] };

let model: Model;
beforeAll(async () => {
  model = await load("smollm2", { parallel: 2, ctxSize: 512 });
}, 60_000);
afterAll(() => model[Symbol.asyncDispose]());

/** A generation that runs; its start and its first token were read. */
async function running() {
  const events = model.generate(endless);
  for (let event = await events.next(); event.value?.type !== "token";) event = await events.next();
  return events;
}

describe("Model.generate() with events", () => {
  test("tells one that need not wait that its prompt begins, before the first token", async () => {
    const events = await Array.fromAsync(model.generate(asking));
    const [start] = events;
    const promptTokens = start?.type === "start" ? start.promptTokens : 0;
    expect(events.map(({ type }) => type))
      .toEqual(["start", "prefill", "token", "token", "usage", "complete"]);
    expect(events[1]).toEqual({ type: "prefill", promptTokens, computedTokens: 0 });
    expect(promptTokens).toBeGreaterThan(3);
  }, 30_000);

  test("tells those that wait how many are before them, whenever that changes", async () => {
    const busy = [await running(), await running()];
    const waiting = Array.from({ length: 3 }, () => model.generate(asking));
    const next = async (i: number) => (await waiting[i]!.next()).value;
    for (const i of [0, 1, 2]) {
      expect(await next(i)).toMatchObject({ type: "start" });
      expect(await next(i)).toEqual({ type: "queue", position: i + 1 });
    }
    // One that waits goes: those behind it move up.
    await waiting[1]!.return();
    expect(await next(2)).toEqual({ type: "queue", position: 2 });
    // One that runs goes: the first of those that wait begins.
    await busy[0]!.return();
    expect(await next(0)).toMatchObject({ type: "prefill" });
    expect(await next(2)).toEqual({ type: "queue", position: 1 });
    for (const events of [...busy, ...waiting]) await events.return();
  }, 30_000);

  test("gives only those that were asked for", async () => {
    for (const request of [{ ...endless, maxTokens: 2 }, { ...asking, events: [] }]) {
      const events = await Array.fromAsync(model.generate(request));
      expect(events.map(({ type }) => type))
        .toEqual(["start", "token", "token", "usage", "complete"]);
    }
  }, 30_000);
});
