/** What is told beside the log of a stream: to whom, in which words, and that nothing keeps it. */
import { describe, expect, it } from "bun:test";
import { Listener, Progress } from "../../src/server/progress.ts";
import { Run } from "../../src/server/run.ts";
import type { NoticeEvent, PrefillEvent, QueueEvent } from "../../src/stream/event.ts";
import { parseFrames } from "../../src/stream/frame.ts";
import { setUp } from "../support/fake_socket.ts";
import { MemoryStore } from "../support/memory_store.ts";
import {
  complete,
  MockGenerator,
  type Script,
  START,
  type Step,
  token,
} from "../support/mock_generator.ts";
import { readRun } from "../support/read_run.ts";
import { ChunkReader, get, jsonOf, post } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

const ASKED = { prompt: "Hi", events: ["queue", "prefill"] };
const queue = (position: number): QueueEvent => ({ type: "queue", position });
const PREFILL: PrefillEvent = {
  type: "prefill",
  totalTokens: 5,
  cachedTokens: 0,
  computedTokens: 0,
};
const never = (): Promise<never> => new Promise(() => undefined);

/** A generation with notices, or what they wait for, each a turn of the event loop apart. */
function waiting(...notices: Step[]): Script {
  return function* () {
    yield START;
    for (const notice of notices) {
      yield notice;
      yield new Promise((resolve) => setTimeout(resolve));
    }
    yield* [token("a", 1), token("b", 2), complete(2)];
  };
}

/** A script that is let on one notice at a time. */
function gated() {
  const gates = [queue(2), queue(1), PREFILL, undefined].map((notice) => ({
    notice,
    gate: Promise.withResolvers<void>(),
  }));
  const steps = gates.flatMap(({ notice, gate }): Step[] =>
    notice === undefined ? [gate.promise] : [gate.promise, notice]
  );
  return { script: waiting(...steps), open: (i: number) => gates[i]!.gate.resolve() };
}

describe("Progress", () => {
  it("gives the newest notice, once to whoever has seen it", async () => {
    const progress = new Progress();
    const first = progress.after(undefined);
    progress.tell(queue(3));
    const notice = await first;
    expect(notice).toEqual(queue(3));
    const next = progress.after(notice);
    progress.tell(queue(2));
    progress.tell(PREFILL);
    expect(await next).toBe(PREFILL);
    expect(await progress.after(undefined)).toBe(PREFILL);
    progress.tell(undefined);
    const late = progress.after(undefined);
    progress.tell(queue(1));
    expect(await late).toEqual(queue(1));
  });
});

describe("Listener", () => {
  it("hears notices until the first token, and loses no event for them", async () => {
    const progress = new Progress();
    const gate = Promise.withResolvers<void>();
    const mock = new MockGenerator(() => [START, gate.promise, token("a", 1), complete(1)]);
    const reader = readRun(await Run.begin(mock, { prompt: "Hi" }, () => undefined));
    const listener = new Listener(reader, progress);
    expect(await listener.next()).toEqual({ seq: 0, event: START });
    const heard: NoticeEvent[] = [queue(1), PREFILL];
    for (const notice of heard) {
      const next = listener.next();
      progress.tell(notice);
      expect(await next).toBe(notice);
    }
    gate.resolve();
    expect(await listener.next()).toMatchObject({ seq: 1 });
    progress.tell(queue(1));
    expect(await listener.next()).toMatchObject({ seq: 2 });
    expect(await listener.next()).toBe(undefined);
  });
});

describe("POST /v1/stream with events", () => {
  it("tells a waiting client where it is, without ids, and then the tokens", async () => {
    const { script, open } = gated();
    const { handler, mock } = serve(script);
    const response = await handler(post("/v1/stream", ASKED));
    const chunks = new ChunkReader(response);
    expect(await chunks.next()).toContain(": ok");
    const said = [
      'event: queue\ndata: {"position":2}\n\n',
      'event: queue\ndata: {"position":1}\n\n',
      'event: prefill\ndata: {"total_tokens":5,"cached_tokens":0,"computed_tokens":0}\n\n',
    ];
    for (const [i, text] of said.entries()) {
      open(i);
      expect(await chunks.next()).toBe(text);
    }
    open(3);
    const id = response.headers.get("x-stream-id");
    expect(await chunks.next()).toContain(`id: ${id}:1\nevent: token\ndata: {"token":"a"`);
    expect(mock.requests[0]!.events).toEqual(["queue", "prefill"]);
    await chunks.cancel();
  });

  it("gives every waiting reader the newest, in the languages that have a word for it", async () => {
    const { script, open } = gated();
    const { handler } = serve(script);
    const response = await handler(post("/v1/stream", ASKED));
    const id = response.headers.get("x-stream-id");
    const first = new ChunkReader(response);
    await first.next();
    open(0);
    await first.next();
    const second = new ChunkReader(await handler(get(`/v1/streams/${id}`)));
    await second.next();
    expect(await second.next()).toContain('"position":2');
    const openai = (await handler(get(`/v1/streams/${id}?dialect=openai`))).text();
    open(1);
    for (const chunks of [first, second]) expect(await chunks.next()).toContain('"position":1');
    open(2);
    open(3);
    expect(await openai).not.toMatch(/position|prompt_tokens/);
    expect(await openai).toContain("data: [DONE]");
    for (const chunks of [first, second]) await chunks.cancel();
  });

  it("keeps nothing of it: not for late readers, not in the store, not in the ids", async () => {
    const store = new MemoryStore();
    const { handler } = serve(waiting(queue(1), PREFILL), { store });
    const { id, text } = await whole(handler, post("/v1/stream", ASKED));
    expect(text).toContain('event: prefill\ndata: {"total_tokens":5');
    expect([...text.matchAll(/^id: .*:(\d+)$/gm)].map(([, seq]) => seq)).toEqual([
      "0",
      "1",
      "2",
      "3",
    ]);
    expect(store.events.get(id)!.map(({ type }) => type))
      .toEqual(["start", "token", "token", "complete"]);
    const again = await whole(handler, get(`/v1/streams/${id}`));
    expect(again.text).not.toMatch(/queue|prefill/);
  });

  it("tells nothing that holds no longer", async () => {
    const { handler, mock } = serve(() => [START, queue(1), token("a", 1), never()]);
    const response = await handler(post("/v1/stream", ASKED));
    const id = response.headers.get("x-stream-id");
    const first = response.text();
    await mock.until(() => mock.events === 3);
    const late = await handler(get(`/v1/streams/${id}`));
    const text = late.text();
    await handler(get(`/v1/streams/${id}`, {}, "DELETE"));
    expect(await text).toContain('"token":"a"');
    expect(await text).not.toContain("queue");
    await first;
  });

  it("tells nothing to those who did not ask", async () => {
    const { handler, mock } = serve(waiting(queue(1), PREFILL));
    for (const body of [{ prompt: "Hi" }, { prompt: "Hi", events: [] }]) {
      const { text } = await whole(handler, post("/v1/stream", body));
      expect(text).not.toMatch(/queue|prefill/);
      expect(text).toContain("event: complete");
    }
    expect(mock.requests.map(({ events }) => events)).toEqual([undefined, undefined]);
  });

  it("refuses what is no list of them", async () => {
    const { handler } = serve(waiting());
    for (const events of ["queue", ["metrics"], [1], {}]) {
      const { status, body } = await jsonOf(handler, post("/v1/stream", { ...ASKED, events }));
      expect(status).toBe(400);
      expect(body["fields"]).toMatchObject([{ field: "events" }]);
    }
  });

  it("says it in lines of JSON, and in frames that keep the place of the reader", async () => {
    const { handler } = serve(waiting(queue(1), never()));
    const read = async (accept: string) => {
      const response = await handler(post("/v1/stream", ASKED, { accept }));
      const chunks = response.body!.getReader();
      const seen: Uint8Array[] = [];
      while (!new TextDecoder().decode(seen.at(-1)).includes("queue")) {
        seen.push((await chunks.read()).value!);
      }
      await chunks.cancel();
      return new Blob(seen as Uint8Array<ArrayBuffer>[]);
    };
    expect(await (await read("application/x-ndjson")).text())
      .toContain('\n{"event":"queue","data":{"position":1}}\n');
    const frames = await Array.fromAsync(
      parseFrames((await read("application/octet-stream")).stream()),
    );
    expect(frames).toEqual([{ seq: 0, event: START }, { seq: 0, event: queue(1) }]);
  });

  it("says it again where the stream is revived, to a reader that keeps its place", async () => {
    const store = new MemoryStore();
    const lost = serve(() => [START, token("a", 1), never()], { store });
    const response = await lost.handler(
      post("/v1/stream", { ...ASKED, on_disconnect: "pause" }),
    );
    const chunks = new ChunkReader(response);
    await chunks.next();
    await chunks.next();
    await chunks.cancel();
    const id = response.headers.get("x-stream-id");
    const next = serve(waiting(PREFILL), { store });
    const { text } = await whole(next.handler, get(`/v1/streams/${id}?from=1`));
    expect(text).toMatch(/: ok\n\nevent: prefill\n.*\n\nid: .*:2\nevent: token/);
  });
});

describe("a request on a WebSocket with events", () => {
  it("is told them as messages without a place", async () => {
    const { open } = setUp(waiting(queue(1), PREFILL));
    const socket = await open();
    socket.tell({ type: "request", ...ASKED });
    const { stream } = await socket.next("metadata");
    await socket.next("complete");
    expect(socket.messages.slice(1, -3)).toEqual([
      { type: "queue", stream, position: 1 },
      { type: "prefill", stream, total_tokens: 5, cached_tokens: 0, computed_tokens: 0 },
    ]);
    expect(socket.of("token").map(({ seq }) => seq)).toEqual([1, 2]);
    socket.session.onClose();
  });
});
