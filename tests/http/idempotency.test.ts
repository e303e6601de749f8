/** Idempotency-Key: a POST that is repeated attaches to the stream that the first one made. */
import { describe, expect, it } from "bun:test";
import { saying } from "../support/mock_generator.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { post } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

const PROMPT = { prompt: "Hi" };

describe("Idempotency-Key", () => {
  it("attaches to the stream that it made, while it runs and after", async () => {
    const { handler, mock } = serve(saying("a", "b"));
    const headers = { "idempotency-key": "k" };
    const [first, second] = await Promise.all([
      whole(handler, post("/v1/stream", PROMPT, headers)),
      whole(handler, post("/v1/stream", PROMPT, headers)),
    ]);
    const third = await whole(handler, post("/v1/stream", PROMPT, headers));
    expect(second).toEqual(first);
    expect(third).toEqual(first);
    expect(mock.requests.length).toBe(1);
  });

  it("is one owner's own, refuses another body, and is free again after a refusal", async () => {
    const { handler, mock } = serve(saying("a"));
    const headers = { "idempotency-key": "k" };
    mock.script = () => [new Error("broken")];
    expect((await handler(post("/v1/stream", PROMPT, headers))).status).toBe(500);
    mock.script = saying("a");
    await whole(handler, post("/v1/stream", PROMPT, headers));
    const other = { prompt: "Another" };
    expect((await handler(post("/v1/stream", other, headers))).status).toBe(422);
    const stranger = { ...headers, authorization: "Bearer x" };
    expect((await handler(post("/v1/stream", other, stranger))).status).toBe(200);
    expect((await handler(post("/v1/stream", PROMPT, { "idempotency-key": "" }))).status).toBe(400);
  });
});

describe("Idempotency-Key with a store", () => {
  const headers = { "idempotency-key": "k" };

  it("attaches a request that comes while the store binds the key", async () => {
    const store = new MemoryStore();
    const { handler, mock } = serve(saying("a", "b"), { store });
    const bind = store.bind.bind(store);
    store.bind = async (...key) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      return bind(...key);
    };
    const both = [1, 2].map(() => whole(handler, post("/v1/stream", PROMPT, headers)));
    const [first, second] = await Promise.all(both);
    expect(second).toEqual(first!);
    expect(mock.requests.length).toBe(1);
  });

  it("is free again in the store after a refusal", async () => {
    const store = new MemoryStore();
    const refused = serve(() => [new Error("broken")], { store });
    expect((await refused.handler(post("/v1/stream", PROMPT, headers))).status).toBe(500);
    const next = serve(saying("a"), { store });
    expect((await next.handler(post("/v1/stream", PROMPT, headers))).status).toBe(200);
  });

  it("says 429 while another replica has bound the key and not begun", async () => {
    const store = new MemoryStore();
    await store.bind("", "k", "a".repeat(32));
    const { handler } = serve(saying("a"), { store });
    const response = await handler(post("/v1/stream", PROMPT, headers));
    expect(response.status).toBe(429);
    expect(response.headers.get("retry-after")).toBe("1");
  });
});
