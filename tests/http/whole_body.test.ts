/**
 * wholeBody(): one JSON body, pinged, cut where it cannot be finished, and gone when its reader
 * goes.
 */
import { describe, expect, it } from "bun:test";
import { Run } from "../../src/server/run.ts";
import { wholeBody } from "../../src/server/whole_body.ts";
import type { FinishReason } from "../../src/stream/event.ts";
import {
  complete,
  endless,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
  usage,
} from "../support/mock_generator.ts";
import { readRun } from "../support/read_run.ts";
import { ChunkReader } from "../support/requests.ts";
import { watchTimers } from "../support/timers.ts";

async function open(script: Script, keepAliveMs = 0) {
  const mock = new MockGenerator(script);
  const reported: unknown[] = [];
  const run = await Run.begin(mock, {}, (failure) => reported.push(failure));
  const response = new Response(wholeBody(readRun(run), (completion) => completion, keepAliveMs));
  return { mock, run, reported, response };
}

describe("wholeBody()", () => {
  it("puts the tokens of all events together", async () => {
    const script: Script = () => [
      START,
      token("hm", 1, { channel: "reasoning" }),
      token("", 2),
      token("a b", 3, { ids: [7, 8] }),
      usage(4),
      complete(4, "stop"),
    ];
    const { response, run, mock } = await open(script);
    expect(await response.json()).toEqual({
      text: "a b",
      reasoning: "hm",
      ids: [101, 102, 7, 8],
      tokens: [{ ids: [101], text: "hm" }, { ids: [102], text: "" }, { ids: [7, 8], text: "a b" }],
      finishReason: "stop",
      usage: { type: "usage", promptTokens: 5, completionTokens: 4, cachedTokens: 3 },
      stats: complete(4).stats,
    });
    await run.over;
    expect(mock).toMatchObject({ active: 0, aborted: 0 });
  });

  it("counts by the statistics where the generator gives no usage", async () => {
    const { response } = await open(() => [START, token("x", 1), complete(1)]);
    expect(await response.json()).toMatchObject({
      usage: { promptTokens: 5, completionTokens: 1, cachedTokens: 0 },
    });
  });

  it("computes nothing before it is read", async () => {
    const { mock, response } = await open(saying("a", "b"));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(mock.events).toBe(1);
    await response.text();
    expect(mock.events).toBe(5);
  });

  it("puts spaces before the JSON while it is silent", async () => {
    const gate = Promise.withResolvers<void>();
    const { response } = await open(() => [START, gate.promise, token("x", 1), complete(1)], 1);
    const chunks = new ChunkReader(response);
    for (let i = 0; i < 3; i++) expect(await chunks.next()).toBe(" ");
    gate.resolve();
    let text = "";
    for (let chunk = await chunks.next(); chunk !== undefined; chunk = await chunks.next()) {
      text += chunk;
    }
    expect(JSON.parse(text)).toMatchObject({ text: "x" });
  });

  const reasons: FinishReason[] = ["cancelled", "error"];
  it.each(reasons)("is cut where the generation ends as %s", async (reason) => {
    const { response } = await open(() => [START, token("x", 1), complete(1, reason)]);
    await expect(response.text()).rejects.toThrow("Cannot finish the generation: it was cancelled");
  });

  it("is cut where the generation fails, and does not say why", async () => {
    const error = new TypeError("secret");
    const { response, reported, mock } = await open(() => [START, token("x", 1), error]);
    await expect(response.text()).rejects.toThrow("Cannot answer the request: the server failed");
    expect(reported).toEqual([error]);
    expect(mock.active).toBe(0);
  });

  it("cancels the run when its reader goes, and leaves no timer", async () => {
    const { live, restore } = watchTimers();
    try {
      const { mock, response } = await open(endless(() => new Promise(() => undefined)), 60_000);
      const chunks = new ChunkReader(response);
      const waiting = chunks.next();
      await mock.until(() => mock.events === 1);
      await chunks.cancel();
      expect(await waiting).toBe(undefined);
      expect(mock).toMatchObject({ active: 0, aborted: 1, finished: 1 });
      expect(live.size).toBe(0);
    } finally {
      restore();
    }
  });
});
