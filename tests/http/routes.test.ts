/** Paths bound to other languages: by whom they are answered, and what is refused at the start. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../src/server/handler.ts";
import { DIALECTS, Routes } from "../../src/server/routes.ts";
import { FakeSocket, HANDSHAKE, PROMPT } from "../support/fake_socket.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { MockGenerator, saying } from "../support/mock_generator.ts";
import { get, jsonOf, post, transcript } from "../support/requests.ts";
import { serve, whole } from "../support/stream_requests.ts";

const CHAT = { messages: [{ role: "user", content: "Hi" }], stream: true };

describe("Routes", () => {
  it.each([
    "",
    "chat",
    "//chat",
    "/a b",
    "/a?b",
    "/a#b",
    "/a/../b",
    "/v1/*",
    "/é",
    "http://localhost/chat",
  ])("refuses the path %j", (path) => {
    expect(() => new Routes({ [path]: "native" })).toThrow(
      `Cannot bind the route ${JSON.stringify(path)} to "native": the path is malformed`,
    );
  });

  it("refuses an unknown language and lists the known ones", () => {
    expect(() => new Routes({ "/chat": "klingon" })).toThrow(
      /"\/chat" to "klingon": the dialect is unknown, expected .*native, openai, openai_compl/,
    );
    expect(() => createHandler(new MockGenerator(), { routes: { "/chat": "" } })).toThrow(
      'Cannot bind the route "/chat" to "": the dialect is unknown',
    );
  });

  it("knows each language by its name, and its own paths", () => {
    const routes = new Routes();
    const paths = new Map(routes.paths);
    const own = DIALECTS.flatMap(({ generates }) => generates);
    for (const route of own) expect(paths.get(route.path)?.route).toBe(route);
    expect(paths.size).toBe(own.length);
    const all = [...own, ...DIALECTS.flatMap(({ speaks = [] }) => speaks)];
    for (const route of all) expect(routes.named(route.name).route).toBe(route);
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
  });
});

describe("a path that is bound to a language", () => {
  it("answers as the path of that language does, refusals too", async () => {
    const routes = { "/chat/completions": "openai", "/a%20b": "native" };
    const { handler } = serve(saying("a", "b"), { routes });
    const pairs = [
      ["/chat/completions", "/v1/chat/completions", CHAT],
      ["/chat/completions", "/v1/chat/completions", { ...CHAT, stream: false }],
      ["/chat/completions", "/v1/chat/completions", {}],
      ["/a%20b", "/v1/stream", { prompt: "Hi" }],
      ["/a%20b", "/v1/stream", "{"],
    ] as const;
    for (const [path, own, body] of pairs) {
      expect(await transcript(await handler(post(path, body))))
        .toBe(await transcript(await handler(post(own, body))));
    }
    const wrong = await jsonOf(handler, get("/chat/completions"));
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get("allow")).toBe("POST, OPTIONS");
    expect(wrong.body).toMatchObject({ error: { code: "method_not_allowed" } });
  });

  it("speaks it instead of its own", async () => {
    const { handler } = serve(saying("a"), { routes: { "/v1/completions": "native" } });
    const { text } = await whole(handler, post("/v1/completions", { prompt: "Hi" }));
    expect(text).toContain("event: complete");
    const refused = await jsonOf(handler, post("/v1/completions", {}));
    expect(refused.body).toMatchObject({ error_type: "validation" });
  });

  it("wins over a path that ends in a wildcard", async () => {
    const routes = { "/v1/models/mock": "native", "/v1/streams/new": "native" };
    const { handler } = serve(saying("a"), { routes });
    for (const path of Object.keys(routes)) {
      expect((await whole(handler, post(path, { prompt: "Hi" }))).text).toContain("event: token");
      expect((await handler(get(path))).status).toBe(405);
    }
    expect((await handler(get("/v1/models/other"))).status).toBe(404);
  });

  it("makes streams that any process reads and continues, with or without that path", async () => {
    const store = new MemoryStore();
    const made = serve(saying("a", "b"), { store, routes: { "/say": "openai_completions" } });
    const { id, text } = await whole(made.handler, post("/say", { prompt: "Hi", stream: true }));
    const events = store.events.get(id)!.splice(2);
    expect(events.map(({ type }) => type)).toEqual(["token", "usage", "complete"]);
    const next = serve(saying("a", "b"), { store });
    const again = await whole(next.handler, get(`/v1/streams/${id}`));
    expect(again.text).toBe(text);
    expect(next.mock.requests[0]).toMatchObject({ prompt: "Hi", resume: { seq: 1 } });
  });

  it("attaches the same request with the same key, and refuses that of another path", async () => {
    const { handler, mock } = serve(saying("a"), { routes: { "/say": "native" } });
    const ask = (path: string) =>
      whole(handler, post(path, { prompt: "Hi" }, { "idempotency-key": "k" }));
    const first = await ask("/say");
    expect(await ask("/say")).toEqual(first);
    expect((await ask("/v1/stream")).status).toBe(422);
    expect(mock.requests.length).toBe(1);
  });

  it("leaves the WebSocket twin of its path native", async () => {
    const { handler } = serve(saying("a"), { routes: { "/v1/stream": "openai" } });
    const open = await handler.upgrade!(get("/v1/stream", HANDSHAKE));
    if (typeof open !== "function") throw new Error("the handshake was refused");
    const socket = new FakeSocket();
    socket.session = open(socket);
    socket.tell(PROMPT);
    await socket.next("complete");
    expect(socket.of("token")).toMatchObject([{ token: "a", position: 1 }]);
    expect((await whole(handler, post("/v1/stream", CHAT))).text).toContain("data: [DONE]");
    socket.session.onClose();
  });
});
