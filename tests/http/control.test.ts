/** POST /v1/streams/{id}/control: what it takes, and what becomes of it. */
import { describe, expect, it } from "bun:test";
import type { Change } from "../../src/engine/steering.ts";
import { changed, mergeChanges, readControl } from "../../src/server/control.ts";
import { createHandler } from "../../src/server/handler.ts";
import { endless, MockGenerator, saying } from "../support/mock_generator.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { setUp } from "../support/fake_socket.ts";
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

describe("a control message on a WebSocket", () => {
  async function running() {
    const { open, mock, handler } = setUp(endless(never));
    const socket = await open();
    socket.tell({ type: "request", prompt: "Hi", max_tokens: 9 });
    const { stream } = await socket.next("metadata");
    return { socket, mock, handler, open, stream };
  }

  it("changes a stream as the route does, and is answered alike", async () => {
    const { socket, mock, stream } = await running();
    const heard: Change[] = [];
    mock.steering?.listen((change) => heard.push(change));
    const control = { type: "control", stream };
    socket.tell({ ...control, action: "extend", max_tokens: 50, request_id: "a" });
    expect(await socket.next("control"))
      .toEqual({ type: "control", stream, request_id: "a", action: "extend" });
    socket.tell({ ...control, action: "set_params", temperature: 0 });
    expect(await socket.next("control", 2)).toEqual({ ...control, action: "set_params" });
    expect(heard).toEqual([{ maxTokens: 50 }, { sampling: { temperature: 0 } }]);
    socket.session.onClose();
  });

  it("stops a stream, with its answer and its terminal event", async () => {
    const { socket, stream } = await running();
    socket.tell({ type: "control", stream, action: "stop" });
    expect(await socket.next("control")).toEqual({ type: "control", stream, action: "stop" });
    expect(await socket.next("complete")).toMatchObject({ stream, completed_normally: false });
    socket.session.onClose();
  });

  it("refuses what the route refuses, in the same words", async () => {
    const { socket, handler, stream } = await running();
    const bodies = [
      {},
      { action: "go" },
      { action: "extend" },
      { action: "set_params", temperature: 5, seed: 1 },
      // This generator takes no changes.
      { action: "extend", max_tokens: 50 },
    ];
    for (const [i, body] of bodies.entries()) {
      const { body: refusal } = await jsonOf(
        handler,
        post(`/v1/streams/${stream}/control`, body),
      );
      socket.tell({ type: "control", stream, request_id: String(i), ...body });
      expect(await socket.next("error", i + 1))
        .toEqual({ type: "error", stream, request_id: String(i), ...refusal });
    }
    expect(socket.of("control")).toEqual([]);
    socket.session.onClose();
  });

  it("needs the id of a stream of its own key", async () => {
    const { socket, open, stream } = await running();
    socket.tell({ type: "control", action: "stop" });
    expect(await socket.next("error")).toMatchObject({ fields: [{ field: "stream" }] });
    const other = await open(undefined, { authorization: "Bearer other" });
    other.tell({ type: "control", stream, action: "stop" });
    expect((await other.next("error"))["message"]).toContain("there is none of that id");
    expect(socket.of("complete")).toEqual([]);
    for (const each of [socket, other]) each.session.onClose();
  });
});
