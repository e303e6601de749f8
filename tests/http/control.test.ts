/** POST /v1/streams/{id}/control: what it takes, and what becomes of it. */
import { describe, expect, it } from "bun:test";
import type { Change } from "../../src/engine/steering.ts";
import { changed, mergeChanges, readControl } from "../../src/server/control.ts";
import { createHandler } from "../../src/server/handler.ts";
import { endless, MockGenerator, saying } from "../support/mock_generator.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { jsonOf, post } from "../support/requests.ts";

const never = () => new Promise(() => undefined);

async function running(store?: MemoryStore) {
  const mock = new MockGenerator(endless(never));
  const handler = createHandler(mock, { ...(store && { store }) });
  const body = { prompt: "Hi", on_disconnect: "pause", max_tokens: 9 };
  const response = await handler(post("/v1/stream", body));
  const id = response.headers.get("x-stream-id");
  const control = (body: unknown) => jsonOf(handler, post(`/v1/streams/${id}/control`, body));
  return { mock, handler, response, id, control };
}

describe("readControl()", () => {
  it("reads each action", () => {
    expect(readControl({ action: "stop" })).toEqual({ action: "stop" });
    expect(readControl({ action: "extend", max_tokens: 7 }))
      .toEqual({ action: "extend", change: { maxTokens: 7 } });
    expect(readControl({ action: "set_params", temperature: 0, top_k: 3 }))
      .toEqual({ action: "set_params", change: { sampling: { temperature: 0, topK: 3 } } });
  });

  const bad: [object, string][] = [
    [{}, "action"],
    [{ action: "go" }, "action"],
    [{ action: "extend" }, "max_tokens"],
    [{ action: "extend", max_tokens: 0 }, "max_tokens"],
    [{ action: "set_params", temperature: 5 }, "temperature"],
    [{ action: "set_params", seed: 1 }, "seed"],
  ];
  it.each(bad)("refuses %j", (body, field) => {
    expect(() => readControl(body as Record<string, unknown>)).toThrow(field);
  });
});

describe("changed()", () => {
  it("applies what was changed, the later over the earlier, and leaves the seed", () => {
    const change = mergeChanges(
      mergeChanges(undefined, { maxTokens: 5, sampling: { topK: 1, topP: 0.5 } }),
      { sampling: { topK: 2 } },
    );
    const request = { prompt: "x", maxTokens: 3, sampling: { seed: 9, topK: 40 } };
    expect(changed(request, change))
      .toEqual({ prompt: "x", maxTokens: 5, sampling: { seed: 9, topK: 2, topP: 0.5 } });
    expect(changed(request, undefined)).toBe(request);
  });
});

describe("POST /v1/streams/{id}/control", () => {
  it("stops a stream, whose readers get the terminal event", async () => {
    const { control, response, id } = await running();
    expect(await control({ action: "stop" }))
      .toMatchObject({ status: 200, body: { stream: id, action: "stop" } });
    expect(await response.text()).toContain('"completed_normally":false');
  });

  it("gives changes to a generator that takes them, and keeps them for whoever goes on", async () => {
    const store = new MemoryStore();
    const { mock, control, id } = await running(store);
    const heard: Change[] = [];
    mock.steering?.listen((change) => heard.push(change));
    expect((await control({ action: "extend", max_tokens: 50 })).status).toBe(200);
    expect((await control({ action: "set_params", temperature: 0 })).status).toBe(200);
    expect(heard).toEqual([{ maxTokens: 50 }, { sampling: { temperature: 0 } }]);
    const next = new MockGenerator(saying("a"));
    const other = createHandler(next, { store });
    const resumed = await other(new Request(`http://localhost/v1/streams/${id}`));
    await resumed.text();
    expect(next.requests[0]).toMatchObject({ maxTokens: 50, sampling: { temperature: 0 } });
  });

  it("refuses with 409 what no change reaches, and 404 what is not there", async () => {
    const { control, handler } = await running();
    expect((await control({ action: "extend", max_tokens: 50 })).status).toBe(409);
    await control({ action: "stop" });
    const stranger = post(`/v1/streams/${"0".repeat(32)}/control`, { action: "stop" });
    expect((await handler(stranger)).status).toBe(404);
    expect((await handler(post("/v1/streams/x/y", { action: "stop" }))).status).toBe(404);
  });
});
