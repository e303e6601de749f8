/** The real model behind HTTP: the SDKs, and what a client that goes away leaves behind. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createHandler, load, type Model } from "../../mod.ts";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { best } from "../support/best.ts";
import { type Leave, RawClient } from "../support/raw_client.ts";
import { serveHere } from "../support/serve_here.ts";
import { sdkSuite, type Target } from "./sdk_suite.ts";

const options = { parallel: 2, ctxSize: 2048 };

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!await condition()) await sleep(1);
}

function target(model: Model): Omit<Target, "baseURL"> {
  return {
    model: model.model.id,
    busy: () => until(async () => (await model.stats()).running > 0),
    idle: () => until(async () => (await model.stats()).running === 0),
    close: () => model[Symbol.asyncDispose](),
  };
}

sdkSuite("SDKs with a model over a port", async () => {
  const model = await load("smollm2", options);
  const server = await serveHere(createHandler(model));
  const close = async () => {
    await server.stop();
    await model[Symbol.asyncDispose]();
  };
  return { ...target(model), baseURL: `${server.url}/v1`, close };
});

sdkSuite("SDKs with a model in process", async () => {
  const model = await load("smollm2", options);
  return { ...target(model), baseURL: "http://localhost/v1", fetch: model.fetch };
});

describe("A client that goes away", () => {
  const endless = { prompt: "Once upon a time", ignore_eos: true, temperature: 0 };
  let model: Model;
  let server: RunningServer;
  beforeAll(async () => {
    model = await load("smollm2", { parallel: 1, ctxSize: 4096 });
    server = await serveHere(createHandler(model));
  }, 60_000);
  afterAll(async () => {
    await server.stop();
    await model[Symbol.asyncDispose]();
  });

  /** Milliseconds until the core holds no more than `running` and `waiting` sequences. */
  async function freed(running: number, waiting: number): Promise<number> {
    const start = performance.now();
    await until(async () => {
      const stats = await model.stats();
      return stats.running <= running && stats.waiting <= waiting;
    });
    return performance.now() - start;
  }

  describe.each(["fin", "rst"] as Leave[])("by %s", (how) => {
    test("frees its sequence within 50 ms while it decodes", async () => {
      const once = async () => {
        const client = await RawClient.open(server.port);
        await client.post("/v1/stream", endless);
        await client.until('"position":3');
        client.leave(how);
        return freed(0, 0);
      };
      expect(await best(once)).toBeLessThan(50);
    }, 60_000);

    test("frees its sequence within 50 ms in the middle of a long prompt", async () => {
      const once = async () => {
        const client = await RawClient.open(server.port);
        await client.post("/v1/stream", { ...endless, prompt: "word ".repeat(4000) });
        await until(async () => (await model.stats()).running === 1);
        client.leave(how);
        return freed(0, 0);
      };
      expect(await best(once)).toBeLessThan(50);
    }, 60_000);

    test("frees its place in the queue within 50 ms", async () => {
      const once = async () => {
        const runs = await RawClient.open(server.port);
        await runs.post("/v1/stream", endless);
        await runs.until('"position":1');
        const waits = await RawClient.open(server.port);
        await waits.post("/v1/stream", endless);
        await until(async () => (await model.stats()).waiting === 1);
        waits.leave(how);
        const milliseconds = await freed(1, 0);
        runs.leave(how);
        await freed(0, 0);
        return milliseconds;
      };
      expect(await best(once)).toBeLessThan(50);
    }, 60_000);
  });
});
