/** With a real model: what a request is told that waits for others, and when its prompt begins. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type GenerateRequest, load, type Model } from "../../mod.ts";
import { parseSse } from "../../src/stream/sse.ts";

const endless: GenerateRequest = { prompt: "Once upon a time", ignoreEos: true };
const asking: GenerateRequest = { ...endless, maxTokens: 2, events: ["queue", "prefill"] };

/** In three pieces: more than 1024 tokens. */
const LONG = "Once upon a time. ".repeat(220);

let model: Model;
beforeAll(async () => {
  model = await load("smollm2", { parallel: 2, ctxSize: 2048 });
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
    expect(events[1]).toEqual({
      type: "prefill",
      totalTokens: promptTokens,
      cachedTokens: 0,
      computedTokens: 0,
    });
    expect(promptTokens).toBeGreaterThan(3);
  }, 30_000);

  test("tells how far a long prompt is after each piece of it, and then the tokens", async () => {
    const events = await Array.fromAsync(model.generate({ ...asking, prompt: LONG }));
    const [start] = events;
    const totalTokens = start?.type === "start" ? start.promptTokens : 0;
    expect(totalTokens).toBeGreaterThan(1024);
    expect(totalTokens).toBeLessThan(1536);
    expect(events.slice(1, 4)).toEqual(
      [0, 512, 1024].map((computedTokens) => ({
        type: "prefill",
        totalTokens,
        cachedTokens: 0,
        computedTokens,
      })),
    );
    expect(events.slice(4).map(({ type }) => type))
      .toEqual(["token", "token", "usage", "complete"]);
  }, 60_000);

  test("tells it over HTTP as well, in events without ids before the first token", async () => {
    const response = await model.fetch("http://localhost/v1/stream", {
      method: "POST",
      body: JSON.stringify({ prompt: LONG, max_tokens: 1, events: ["prefill"] }),
    });
    const messages = await Array.fromAsync(parseSse(response.body!));
    const said = messages.filter(({ data }) => data !== undefined);
    expect(said.map(({ event }) => event).slice(-2)).toEqual(["token", "complete"]);
    const notices = said.slice(0, -2);
    expect(new Set(notices.map(({ event }) => event))).toEqual(new Set(["prefill"]));
    const computed = notices.map(({ data }) => JSON.parse(data!).computed_tokens);
    expect(computed).toEqual([0, 512, 1024]);
  }, 60_000);

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
