/** GET routes that generate: which requests start one, and what their queries stand for. */
import { describe, expect, it } from "bun:test";
import { checkAccept, mannerOf, queryBody } from "../../src/server/query.ts";
import { complete, endless, saying, START, token } from "../support/mock_generator.ts";
import { get, jsonOf, post } from "../support/requests.ts";
import { serve, whole, withoutPreamble } from "../support/stream_requests.ts";

const EVENTS = { accept: "text/event-stream" };
const TEXTS = ["prompt", "stop"];
const bodyOf = (query: string) => queryBody(new URLSearchParams(query), TEXTS);
/** A path of GET for each language that takes one. */
const URL_OF = "/chat/stream?prompt=Hi";

describe("queryBody()", () => {
  const defaults = { max_tokens: 512, on_disconnect: { grace_ms: 15_000 } };

  it("asks for 512 tokens and a grace of 15 s where it does not say otherwise", () => {
    expect(bodyOf("prompt=Hi")).toEqual({ ...defaults, prompt: "Hi" });
    expect(bodyOf("max_tokens=7&on_disconnect=cancel")).toEqual({
      max_tokens: 7,
      on_disconnect: "cancel",
    });
    expect(bodyOf("cancellable=false")).toEqual({ max_tokens: 512, cancellable: false });
  });

  it.each(
    [
      ["n=1", 1],
      ["n=-1", -1],
      ["n=0.5", 0.5],
      ["n=1e3", 1000],
      ["n=true", true],
      ["n=false", false],
      ["n=%7B%22grace_ms%22%3A5%7D", { grace_ms: 5 }],
      ["n=", ""],
      ["n=null", "null"],
      ["n=01", "01"],
      ["n=0x10", "0x10"],
      ["n=Infinity", "Infinity"],
      ["n=+1", " 1"],
      ["n=%5B1%5D", "[1]"],
      ["n=1&n=2", [1, 2]],
      ["prompt=12", "12"],
      ["prompt=true", "true"],
      ["prompt=%7B%7D", "{}"],
      ["stop=1&stop=2", ["1", "2"]],
    ] as const,
  )("reads %s as %j", (query, value) => {
    const [name = ""] = query.split("=");
    expect(bodyOf(query)).toEqual({ ...defaults, [name]: value });
  });

  it("leaves out what is about the connection, a ticket above all", () => {
    expect(bodyOf("lastEventId=1&from=2&ticket=secret&format=text")).toEqual(defaults);
  });

  it("refuses a parameter that only begins like an object, and one that is nested too deep", () => {
    expect(() => bodyOf("on_disconnect={")).toThrow(
      "Cannot read the parameter on_disconnect: it is not valid JSON",
    );
    expect(() => bodyOf(`a=${'{"a":'.repeat(70)}1${"}".repeat(70)}`)).toThrow("nested deeper");
  });

  it("takes any name of a field for a name", () => {
    const body = bodyOf("__proto__=1&constructor=2");
    expect(Object.keys(body)).toEqual(["max_tokens", "on_disconnect", "__proto__", "constructor"]);
    expect(Object.getPrototypeOf(body)).toBe(Object.prototype);
  });
});

describe("mannerOf()", () => {
  it("tells GET from POST, and whether the text alone is wanted", () => {
    expect(mannerOf(get("/"))).toEqual({ isGet: true, wantsText: false });
    expect(mannerOf(get("/", {}, "HEAD"))).toEqual({ isGet: true, wantsText: false });
    expect(mannerOf(post("/", {}))).toEqual({ isGet: false, wantsText: false });
    expect(mannerOf(post("/?format=text", {})).wantsText).toBe(true);
    expect(mannerOf(post("/?format=json", {})).wantsText).toBe(false);
    expect(mannerOf(get("/", { accept: "text/plain" })).wantsText).toBe(true);
  });
});

describe("checkAccept()", () => {
  it.each(["text/event-stream", "text/plain, text/event-stream;q=0.9"])("takes %s", (accept) => {
    checkAccept(get("/", { accept }));
  });

  it.each(["*/*", "", "text/html,application/xhtml+xml,*/*;q=0.8", "text/plain", "text/*"])(
    "refuses %j",
    (accept) => {
      expect(() => checkAccept(get("/", { accept }))).toThrow("Accept: text/event-stream");
    },
  );
});

describe("a GET that generates", () => {
  it("answers what its query asks for", async () => {
    const { handler, mock } = serve(saying("a"));
    const { status, text } = await whole(
      handler,
      get("/chat/stream?prompt=12&temperature=0.5&max_tokens=7&seed=9&stop=x&stop=y", EVENTS),
    );
    expect(status).toBe(200);
    expect(text).toContain('"token":"a"');
    expect(mock.requests).toEqual([{
      messages: [{ role: "user", content: "12" }],
      maxTokens: 7,
      sampling: { temperature: 0.5, seed: 9 },
      stop: ["x", "y"],
    }]);
  });

  it("asks for 512 tokens, but for no more than the server gives", async () => {
    for (const [maxTokens, asked] of [[undefined, 512], [100, 100], [1000, 512]] as const) {
      const { handler, mock } = serve(saying("a"), maxTokens === undefined ? {} : { maxTokens });
      await whole(handler, get(URL_OF, EVENTS));
      expect(mock.requests[0]?.maxTokens).toBe(asked);
    }
  });

  it("names every bad field at once", async () => {
    const { handler, mock } = serve(saying("a"));
    const url = "/chat/stream?prompt=&max_tokens=many&temperature=9&seed=1&seed=2&stop=&top_k=-1";
    const { status, body } = await jsonOf(handler, get(url, EVENTS));
    expect(status).toBe(400);
    const fields = (body["fields"] as { field: string }[]).map(({ field }) => field);
    expect(fields.sort()).toEqual(["max_tokens", "prompt", "seed", "stop", "temperature", "top_k"]);
    expect(body["error"]).toContain(
      'max_tokens: expected an integer from 1 to 2147483647, got "many"',
    );
    expect(mock.requests).toEqual([]);
  });

  it("starts nothing where its type is not asked for, nor from a page of another site", async () => {
    const { handler, mock } = serve(saying("a"));
    const plain = await jsonOf(handler, get(URL_OF, { accept: "*/*" }));
    expect(plain.status).toBe(406);
    expect(plain.body["error"]).toContain("Accept: text/event-stream");
    const cross = await jsonOf(handler, get(URL_OF, { ...EVENTS, "sec-fetch-site": "cross-site" }));
    expect(cross.status).toBe(403);
    expect(cross.body["error"]).toContain("a page of another site");
    expect(mock.requests).toEqual([]);
    for (const site of ["same-origin", "same-site", "none"]) {
      const response = await handler(get(URL_OF, { ...EVENTS, "sec-fetch-site": site }));
      expect(response.status).toBe(200);
      await response.body?.cancel();
    }
  });

  it("starts nothing for HEAD, and says what a GET would", async () => {
    const { handler, mock } = serve(saying("a"));
    const head = await handler(get(URL_OF, EVENTS, "HEAD"));
    expect(head.status).toBe(200);
    expect(head.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(await head.text()).toBe("");
    expect(mock.requests).toEqual([]);
    expect((await handler(get(URL_OF, {}, "HEAD"))).status).toBe(406);
  });

  it("is one of the methods of its path, and only where the language reads queries", async () => {
    const { handler } = serve(saying("a"), { routes: { "/say": "chat_stream" } });
    const allowOf = async (path: string) => {
      const response = await handler(get(path, {}, "OPTIONS"));
      return response.headers.get("allow");
    };
    expect(await allowOf("/chat/stream")).toBe("POST, GET, HEAD, OPTIONS");
    expect(await allowOf("/say")).toBe("POST, GET, HEAD, OPTIONS");
    expect(await allowOf("/chat/completions")).toBe("POST, OPTIONS");
    expect((await handler(get("/v1/stream?prompt=Hi", EVENTS))).status).toBe(405);
    const bound = await whole(handler, get("/say?prompt=Hi", EVENTS));
    expect(bound.text).toContain("event: message");
  });

  it("resumes with Last-Event-ID and samples nothing again", async () => {
    const { handler, mock } = serve(saying("a", "b", "c"));
    const { id, text } = await whole(handler, get(URL_OF, EVENTS));
    for (const cursor of [0, 1, 2, 3].map((seq) => `${id}:${seq}`)) {
      const rest = await whole(handler, get(URL_OF, { ...EVENTS, "last-event-id": cursor }));
      expect(rest.id).toBe(id);
      expect(withoutPreamble(rest.text)).toBe(
        text.slice(text.indexOf(`id: ${cursor}\n`))
          .split("\n\n").slice(1).join("\n\n"),
      );
    }
    const last = [...text.matchAll(/^id: (.*)$/gm)].at(-1)![1]!;
    const over = await handler(get(URL_OF, { ...EVENTS, "last-event-id": last }));
    expect(over.status).toBe(204);
    expect(mock.requests.length).toBe(1);
    // One that is not ours means nothing here.
    await whole(handler, get(URL_OF, { ...EVENTS, "last-event-id": `${"0".repeat(32)}:1` }));
    await whole(handler, get(URL_OF, { ...EVENTS, "last-event-id": "17" }));
    expect(mock.requests.length).toBe(3);
  });

  it("keeps its stream for a reader that is gone, and goes on where it comes back", async () => {
    const gate = Promise.withResolvers<void>();
    const { handler, mock } = serve(() => [
      START,
      token("a", 1),
      gate.promise,
      token("b", 2),
      complete(2),
    ]);
    const first = await handler(get(URL_OF, EVENTS));
    const id = first.headers.get("x-stream-id");
    await mock.until(() => mock.events === 1);
    await first.body?.cancel();
    expect(mock.aborted).toBe(0);
    gate.resolve();
    const rest = await whole(handler, get(URL_OF, { ...EVENTS, "last-event-id": `${id}:0` }));
    expect([...rest.text.matchAll(/"token":"([^"]+)"/g)].map(([, text]) => text)).toEqual([
      "a",
      "b",
    ]);
  });

  it("ends with its reader where it asks for that", async () => {
    const { handler, mock } = serve(endless());
    const response = await handler(get(`${URL_OF}&on_disconnect=cancel`, EVENTS));
    await response.body?.cancel();
    await mock.until(() => mock.active === 0);
    expect(mock.aborted).toBe(1);
  });

  it("belongs to whoever has its key", async () => {
    const { handler, mock } = serve(saying("a", "b"));
    const { id } = await whole(handler, get(URL_OF, { ...EVENTS, "x-api-key": "one" }));
    const headers = { ...EVENTS, "last-event-id": `${id}:1`, "x-api-key": "two" };
    const other = await whole(handler, get(URL_OF, headers));
    expect(other.id).not.toBe(id);
    expect(mock.requests.length).toBe(2);
  });
});

describe("HEAD of a stream", () => {
  it("leaves no reader behind", async () => {
    const { handler } = serve(endless());
    const first = await handler(post("/v1/stream", { prompt: "Hi" }));
    const id = first.headers.get("x-stream-id");
    const head = await handler(get(`/v1/streams/${id}`, {}, "HEAD"));
    expect(head.status).toBe(200);
    expect(handler.streams.readers).toBe(1);
    await first.body?.cancel();
  });
});
