/** Access: keys, scopes, tickets and quotas, as a client of the handler meets them. */
import { beforeAll, describe, expect, it } from "bun:test";
import { RequestError } from "../../../src/errors.ts";
import { demandOf } from "../../../src/server/access.ts";
import { createHandler, type Handler, type HandlerOptions } from "../../../src/server/handler.ts";
import { type ApiKey, createKey } from "../../../src/server/keys.ts";
import { publicError } from "../../../src/server/public_error.ts";
import { Routes } from "../../../src/server/routes.ts";
import { FakeSocket, HANDSHAKE, PROMPT as ASK } from "../../support/fake_socket.ts";
import { MockGenerator, saying } from "../../support/mock_generator.ts";
import { get, jsonOf, post } from "../../support/requests.ts";

const PROMPT = { prompt: "Hi" };
const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` });

let secret: string;
let key: ApiKey;
let other: { secret: string; key: ApiKey };
beforeAll(async () => {
  ({ secret, key } = await createKey({ name: "ada" }));
  other = await createKey({ name: "bob" });
});

function keyed(options: HandlerOptions = {}) {
  const mock = new MockGenerator(saying("a", "b"));
  const reported: unknown[] = [];
  const onError = (failure: unknown): void => void reported.push(failure);
  return {
    mock,
    reported,
    handler: createHandler(mock, { keys: [key, other.key], onError, ...options }),
  };
}

async function ticketFor(handler: Handler, path: string, more: object = {}): Promise<string> {
  const { status, body } = await jsonOf(
    handler,
    post("/v1/tickets", { path, ...more }, bearer(secret)),
  );
  expect(status).toBe(200);
  return String(body["ticket"]);
}

describe("createHandler() with keys", () => {
  it.each([
    ["Authorization: Bearer", () => bearer(secret), 200],
    ["a bearer of any case", () => ({ authorization: `bearer  ${secret}` }), 200],
    ["X-Api-Key", () => ({ "x-api-key": secret }), 200],
    [
      "X-Api-Key before Authorization",
      () => ({ "x-api-key": secret, authorization: "Basic x" }),
      200,
    ],
    ["nothing", () => ({}), 401],
    ["another key", () => bearer(`${secret.slice(0, -1)}x`), 401],
    ["no bearer but the key alone", () => ({ authorization: secret }), 200],
    ["Basic", () => ({ authorization: `Basic ${secret}` }), 401],
    ["the hash of a key", () => bearer(key.hash), 401],
    ["an empty key", () => ({ "x-api-key": "" }), 401],
  ])("answers %s as it should", async (_name, headers, status) => {
    const { handler, mock } = keyed();
    expect((await handler(post("/v1/stream", PROMPT, headers()))).status).toBe(status);
    expect(mock.requests.length).toBe(status === 200 ? 1 : 0);
  });

  it("says how to send one with a 401, and nothing of the one that came", async () => {
    const { handler, reported } = keyed();
    const response = await handler(get("/v1/models", bearer("sk-canary")));
    expect(response.headers.get("www-authenticate")).toBe("Bearer");
    const text = await response.text();
    expect(text).toContain("send the header Authorization: Bearer KEY");
    expect(text).not.toContain("canary");
    expect(reported).toEqual([]);
  });

  it("refuses each route in the envelope of its own dialect", async () => {
    const { handler } = keyed();
    const missing = new RequestError(
      "Cannot accept the request: it has no API key, send the header Authorization: Bearer KEY",
      [],
      { code: "missing_api_key", status: 401 },
    );
    const bodies = await Promise.all(
      [...new Routes().paths].map(async ([path, { dialect }]) => {
        const { status, body } = await jsonOf(handler, post(path, PROMPT));
        expect([path, status]).toEqual([path, 401]);
        expect(body).toEqual(dialect.errorBody(publicError(missing)) as Record<string, unknown>);
        return JSON.stringify(body);
      }),
    );
    expect(bodies.length).toBeGreaterThan(2);
    expect(bodies.join()).toContain('"type":"authentication_error"');
    expect(bodies.join()).toContain('"error_type":"authentication"');
  });

  it("asks for the scope generate wherever a GET generates", async () => {
    const reader = await createKey({ name: "reader", scopes: ["read"] });
    const { handler, mock } = keyed({ keys: [reader.key] });
    const paths = [...new Routes().paths].filter(([, { route }]) => route.query !== undefined);
    for (const [path] of paths) {
      const url = `${path}?prompt=Hi&stream=true`;
      const accept = { accept: "text/event-stream" };
      expect((await handler(get(url, accept))).status).toBe(401);
      expect((await handler(get(url, { ...accept, ...bearer(reader.secret) }))).status).toBe(403);
    }
    expect(paths.length).toBeGreaterThan(0);
    expect(mock.requests).toEqual([]);
  });

  it("tells its health to everyone, and which routes there are", async () => {
    const { handler } = keyed();
    for (const path of ["/health", "/health/live", "/health/ready"]) {
      expect((await handler(get(path))).status).toBe(200);
    }
    expect((await handler(get("/none"))).status).toBe(404);
    expect((await handler(get("/v1/stream", {}, "PUT"))).status).toBe(405);
  });

  it.each([
    ["in the query", (own: string) => `/v1/models?api_key=${own}`],
    ["in a query of another name", (own: string) => `/v1/models?x=${own}`],
    ["in the path", (own: string) => `/v1/models/${own}`],
    ["by name", () => "/v1/models?access_token=abc"],
  ])("refuses a key %s of a URL, and does not repeat it", async (_name, pathOf) => {
    const { handler } = keyed();
    const response = await handler(get(pathOf(secret), bearer(secret)));
    const text = await response.text();
    expect([response.status, JSON.parse(text).error.code]).toEqual([400, "key_in_url"]);
    expect(text).toContain("POST /v1/tickets");
    expect(text).not.toContain(secret.slice(-16));
  });

  it("hides the streams of one key from another", async () => {
    const { handler } = keyed();
    const made = await handler(post("/v1/stream", PROMPT, bearer(secret)));
    await made.text();
    const path = `/v1/streams/${made.headers.get("x-stream-id")}`;
    expect((await handler(get(path, bearer(secret)))).status).toBe(200);
    expect((await handler(get(path, bearer(other.secret)))).status).toBe(404);
    expect((await handler(get(path, bearer(other.secret), "DELETE"))).status).toBe(404);
    expect((await handler(get(path))).status).toBe(401);
  });

  it("throws where a key is malformed or there twice", () => {
    expect(() => keyed({ keys: [{ name: "ada", hash: secret }] })).toThrow(/its hash is not 64/);
    expect(() => keyed({ keys: [key, key] })).toThrow(/same name or hash/);
  });
});

describe("demandOf()", () => {
  it.each(
    [
      ["GET", "/health", "public"],
      ["GET", "/health/live", "public"],
      ["GET", "/healthy", "read"],
      ["GET", "/metrics", "metrics"],
      ["POST", "/v1/models/pull", "pull"],
      ["GET", "/v1/models/download/progress", "pull"],
      ["GET", "/v1/models/*", "read"],
      ["GET", "/v1/streams/*", "read"],
      ["POST", "/v1/streams/*", "generate"],
      ["DELETE", "/v1/streams/*", "generate"],
      ["POST", "/v1/stream", "generate"],
    ] as const,
  )("of %s %s is %s", (method, path, demand) => expect(demandOf(method, path)).toBe(demand));
});

describe("POST /v1/tickets", () => {
  it("gives a ticket that reads one stream, without a header, again and again", async () => {
    const { handler } = keyed();
    const made = await handler(post("/v1/stream", PROMPT, bearer(secret)));
    await made.text();
    const path = `/v1/streams/${made.headers.get("x-stream-id")}`;
    const ticket = await ticketFor(handler, path);
    for (let i = 0; i < 2; i++) {
      const response = await handler(get(`${path}?ticket=${ticket}`));
      expect(response.status).toBe(200);
      expect(await response.text()).toContain("event: complete");
    }
    expect((await handler(get(`/v1/models?ticket=${ticket}`))).status).toBe(401);
    expect((await handler(get(`${path}0?ticket=${ticket}`))).status).toBe(401);
    expect((await handler(get(`${path}?ticket=${ticket.slice(0, -1)}`))).status).toBe(401);
  });

  it("counts for no request that sends something", async () => {
    const { handler } = keyed();
    const ticket = await ticketFor(handler, "/v1/stream");
    expect((await handler(post(`/v1/stream?ticket=${ticket}`, PROMPT))).status).toBe(401);
    const own = await ticketFor(handler, "/v1/tickets");
    expect((await handler(post(`/v1/tickets?ticket=${own}`, { path: "/" }))).status).toBe(401);
    const path = "/v1/streams/x";
    const gone = await ticketFor(handler, path);
    expect((await handler(get(`${path}?ticket=${gone}`, {}, "DELETE"))).status).toBe(401);
  });

  it("opens a WebSocket, whose streams are those of the key", async () => {
    const { handler, mock } = keyed();
    const open = (query: string) =>
      handler.upgrade!(new Request(`http://localhost/v1/stream${query}`, { headers: HANDSHAKE }));
    expect((await open("") as Response).status).toBe(401);
    expect((await open("?ticket=x") as Response).status).toBe(401);
    const begin = await open(`?ticket=${await ticketFor(handler, "/v1/stream")}`);
    if (typeof begin !== "function") throw new Error("it was refused");
    const socket = new FakeSocket();
    socket.session = begin(socket);
    socket.tell(ASK);
    const { stream } = await socket.next("complete");
    expect(mock.requests.length).toBe(1);
    const path = `/v1/streams/${stream}`;
    expect((await handler(get(path, bearer(secret)))).status).toBe(200);
    expect((await handler(get(path, bearer(other.secret)))).status).toBe(404);
  });

  it("says what it takes: the seconds asked for, within limits", async () => {
    const { handler } = keyed();
    const ask = (body: object) => jsonOf(handler, post("/v1/tickets", body, bearer(secret)));
    expect((await ask({ path: "/v1/stream" })).body["expires_in"]).toBe(300);
    expect((await ask({ path: "/v1/stream", expires_in: 3600 })).body["expires_in"]).toBe(3600);
    for (const expires_in of [0, 3601, 1.5, "60", null]) {
      const { status, body } = await ask({ path: 3, expires_in });
      expect(status).toBe(400);
      expect((body["fields"] as { field: string }[]).map(({ field }) => field)).toEqual([
        "path",
        "expires_in",
      ]);
    }
    for (const path of ["", "v1/stream", "/v1/stream?x", "http://localhost/", "/a b"]) {
      expect((await ask({ path })).status).toBe(400);
    }
  });

  it("is refused where a page of another site asks for one, and where no key does", async () => {
    const { handler } = keyed();
    const site = { ...bearer(secret), "sec-fetch-site": "cross-site" };
    expect((await handler(post("/v1/tickets", { path: "/" }, site))).status).toBe(403);
    expect((await handler(post("/v1/tickets", { path: "/" }))).status).toBe(401);
  });

  it("works for a client that is known by its header alone, where there are no keys", async () => {
    const handler = createHandler(new MockGenerator());
    const made = await handler(post("/v1/stream", PROMPT, bearer(secret)));
    await made.text();
    const path = `/v1/streams/${made.headers.get("x-stream-id")}`;
    expect((await handler(get(path))).status).toBe(404);
    expect((await handler(get(`${path}?ticket=${await ticketFor(handler, path)}`))).status).toBe(
      200,
    );
  });

  it("is taken by another server with the same keys and secret", async () => {
    const ticketSecret = "a secret that several servers share";
    const ticket = await ticketFor(keyed({ ticketSecret }).handler, "/v1/models");
    const ask = get(`/v1/models?ticket=${ticket}`);
    expect((await keyed({ ticketSecret }).handler(ask)).status).toBe(200);
    expect((await keyed().handler(ask)).status).toBe(401);
    expect((await keyed({ ticketSecret, keys: [other.key] }).handler(ask)).status).toBe(401);
  });
});

describe("createHandler() with a quota", () => {
  const limited = (limits: Partial<ApiKey>) => keyed({ keys: [{ ...key, ...limits }, other.key] });

  it("answers 429 with Retry-After after as many generations as a minute has", async () => {
    const { handler, mock } = limited({ requestsPerMinute: 2 });
    const ask = () =>
      handler(
        post(
          "/v1/chat/completions",
          { messages: [{ role: "user", content: "Hi" }] },
          bearer(secret),
        ),
      );
    const [first, , third] = [await ask(), await ask(), await ask()];
    expect([first.status, third.status]).toEqual([200, 429]);
    expect(first.headers.get("x-ratelimit-limit-requests")).toBe("2");
    expect(first.headers.get("x-ratelimit-remaining-requests")).toBe("1");
    expect(third.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect(["29", "30"]).toContain(third.headers.get("retry-after")!);
    expect(await third.json()).toMatchObject({ error: { code: "rate_limit_exceeded" } });
    expect(mock.requests.length).toBe(2);
    expect((await handler(post("/v1/stream", PROMPT, bearer(other.secret)))).status).toBe(200);
  });

  it("counts tokens of prompt and answer, and refuses once they are used", async () => {
    const { handler } = limited({ tokensPerMinute: 7 });
    const ask = () => handler(post("/v1/stream", PROMPT, bearer(secret)));
    await (await ask()).text();
    const refused = await ask();
    expect(refused.status).toBe(429);
    expect(refused.headers.get("x-ratelimit-remaining-tokens")).toBe("0");
    expect(await refused.json()).toMatchObject({ error_type: "overloaded" });
  });

  it("takes nothing for reading, resuming or an idempotent retry", async () => {
    const { handler } = limited({ requestsPerMinute: 1 });
    const headers = { ...bearer(secret), "idempotency-key": "once" };
    const made = await handler(post("/v1/stream", PROMPT, headers));
    await made.text();
    const path = `/v1/streams/${made.headers.get("x-stream-id")}`;
    expect((await handler(post("/v1/stream", PROMPT, headers))).status).toBe(200);
    expect((await handler(get(path, bearer(secret)))).status).toBe(200);
    expect((await handler(get("/v1/models", bearer(secret)))).status).toBe(200);
    expect((await handler(post("/v1/stream", PROMPT, bearer(secret)))).status).toBe(429);
  });

  it("counts the requests on a WebSocket too", async () => {
    const { handler } = limited({ requestsPerMinute: 1 });
    const headers = { ...HANDSHAKE, ...bearer(secret) };
    const begin = await handler.upgrade!(new Request("http://localhost/v1/stream", { headers }));
    if (typeof begin !== "function") throw new Error("it was refused");
    const socket = new FakeSocket();
    socket.session = begin(socket);
    socket.tell(ASK);
    await socket.next("complete");
    socket.tell(ASK);
    expect(await socket.next("error")).toMatchObject({ error_type: "overloaded" });
  });
});
