/** Cors: which pages may read, and what browsers are told. */
import { describe, expect, it } from "bun:test";
import { createHandler } from "../../../src/server/handler.ts";
import { Cors } from "../../../src/server/cors.ts";
import { MockGenerator } from "../../support/mock_generator.ts";
import { get, post } from "../../support/requests.ts";

const PAGE = "https://chat.example";
const ASK = {
  origin: PAGE,
  "access-control-request-method": "POST",
  "access-control-request-headers": "authorization,content-type,x-stainless-os",
};

function handlerFor(corsOrigins: readonly string[] | "*") {
  return createHandler(new MockGenerator(), { corsOrigins });
}

describe("Cors.allows()", () => {
  it.each(
    [
      ["https://chat.example", true],
      ["http://localhost:5173", true],
      ["tauri://localhost", true],
      ["chrome-extension://abcdef", true],
      ["http://chat.example", false],
      ["https://chat.example:8443", false],
      ["https://chat.example.evil.test", false],
      ["https://evil.test", false],
      ["http://localhost:5174", false],
      ["http://localhost.evil.test:5173", false],
      ["https://CHAT.example", false],
      ["null", false],
      ["", false],
    ] as const,
  )("answers Origin %s with %p", (origin, isAllowed) => {
    const origins = [PAGE, "http://localhost:5173", "tauri://localhost"];
    const cors = new Cors([...origins, "chrome-extension://abcdef"]);
    expect(cors.allows(get("/", { origin }))).toBe(isAllowed);
  });

  it("lets every origin but null pass where the list is *", () => {
    expect(new Cors("*").allows(get("/", { origin: "https://evil.test" }))).toBe(true);
    expect(new Cors("*").allows(get("/", { origin: "null" }))).toBe(false);
    expect(new Cors("*").allows(get("/"))).toBe(false);
  });

  it.each([
    "chat.example",
    "https://chat.example/",
    "https://Chat.example",
    "https://*.example",
    "*",
    "null",
    "https://a@b.example",
    "",
  ])("refuses the option %j, which is no origin", (origin) => {
    expect(() => new Cors([origin])).toThrow(/Cannot allow the origin/);
  });
});

describe("createHandler() with corsOrigins", () => {
  it("answers a preflight on any path, before keys", async () => {
    const handler = createHandler(new MockGenerator(), { corsOrigins: [PAGE], keys: [] });
    for (const path of ["/v1/chat/completions", "/v1/streams/x", "/none"]) {
      const { status, headers } = await handler(get(path, ASK, "OPTIONS"));
      expect(status).toBe(204);
      expect(headers.get("access-control-allow-origin")).toBe(PAGE);
      expect(headers.get("access-control-allow-methods")).toContain("DELETE");
      expect(headers.get("access-control-allow-headers")).toBe(
        ASK["access-control-request-headers"],
      );
      expect(headers.get("access-control-max-age")).toBe("600");
      expect(headers.get("vary")).toBe("Origin");
    }
  });

  it("repeats no list of headers that is none", async () => {
    const handler = handlerFor([PAGE]);
    for (const names of ["a b", "a: b", "<script>", `a${",b".repeat(2000)}`]) {
      const ask = { ...ASK, "access-control-request-headers": names };
      const { headers } = await handler(get("/v1/models", ask, "OPTIONS"));
      expect(headers.has("access-control-allow-headers")).toBe(false);
    }
  });

  it("lets a page of the list read answers, refusals and the headers that matter", async () => {
    const handler = handlerFor([PAGE]);
    const site = { origin: PAGE, "sec-fetch-site": "cross-site" };
    const answers = [
      await handler(post("/v1/stream", { prompt: "Hi" }, site)),
      await handler(post("/v1/stream", {}, site)),
      await handler(get("/none", site)),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 404]);
    for (const { headers } of answers) {
      expect(headers.get("access-control-allow-origin")).toBe(PAGE);
      for (const name of ["X-Stream-Id", "Retry-After", "X-RateLimit-Remaining-Tokens"]) {
        expect(headers.get("access-control-expose-headers")).toContain(name);
      }
    }
  });

  it("tells other pages nothing, and refuses what they send", async () => {
    const handler = handlerFor([PAGE]);
    const origin = "https://evil.test";
    const preflight = await handler(get("/v1/models", { ...ASK, origin }, "OPTIONS"));
    const sent = await handler(post("/v1/stream", { prompt: "Hi" }, { origin }));
    const read = await handler(get("/v1/models", { origin }));
    expect([preflight.status, sent.status, read.status]).toEqual([204, 403, 200]);
    for (const { headers } of [preflight, sent, read]) {
      expect([...headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
      expect(headers.get("vary")).toBe("Origin");
    }
  });

  it("never asks for credentials, and names no origin where every one may", async () => {
    for (const corsOrigins of ["*", [PAGE]] as const) {
      const handler = handlerFor(corsOrigins);
      for (const request of [get("/v1/models", ASK, "OPTIONS"), get("/v1/models", ASK)]) {
        const { headers } = await handler(request);
        expect(headers.has("access-control-allow-credentials")).toBe(false);
        expect(headers.get("access-control-allow-origin")).toBe(corsOrigins === "*" ? "*" : PAGE);
      }
    }
  });

  it("says nothing of it where it is off", async () => {
    const { headers } = await handlerFor([])(get("/v1/models", { origin: PAGE }));
    expect(headers.has("vary")).toBe(false);
    expect(headers.has("access-control-allow-origin")).toBe(false);
  });
});
