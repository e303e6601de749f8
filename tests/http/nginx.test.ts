/** A real nginx with the configuration of docs/deploy.md in front of two servers. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "bun:test";
import { readFileSync } from "node:fs";
import { Inbox } from "../support/fake_socket.ts";
import { DOCUMENTED, HAS_NGINX } from "../support/nginx.ts";
import { PAUSED, postOf, PROMPT, Reading, Site, TOKENS } from "../support/site.ts";
import { HAS_REDIS, RedisServer } from "../stream/stores/redis_server.ts";

/** What a client meets while another server takes over. */
const PASSING = [404, 409, 429, 500, 502, 503, 504];

const CAN = HAS_NGINX && HAS_REDIS;

const deploy = readFileSync(new URL("../../docs/deploy.md", import.meta.url), "utf8");

/** The fenced blocks of nginx's language in the document, in order. */
const blocks = [...deploy.matchAll(/^```nginx\n(.*?)^```$/gms)].map(([, text]) => text!);

/** A client of the runtime. */
class Client extends Inbox {
  readonly socket: WebSocket;

  constructor(socket: WebSocket) {
    super();
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => this.push(data));
  }

  opened(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.socket.addEventListener("open", resolve);
      this.socket.addEventListener("error", reject);
    });
  }
}

/** The rest of a stream, as soon as another server gives it. */
async function takenOver(site: Site, reading: Reading): Promise<Response> {
  for (;;) {
    const response = await site.resume(reading);
    if (!PASSING.includes(response.status)) return response;
    await response.body?.cancel();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("docs/deploy.md", () => {
  it("prints the configuration that is tested", () => {
    expect(blocks[0]).toBe(DOCUMENTED);
  });
});

describe.skipIf(!CAN)("two servers (needs nginx, openssl, redis-server)", () => {
  let redis: RedisServer;
  let site: Site;
  beforeAll(async () => {
    redis = await RedisServer.start();
    site = await Site.start({ store: redis.url });
  });
  beforeEach(async () => {
    await site.open(0);
  });
  afterAll(async () => {
    await site[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  it("hand on each event before the next one is made", async () => {
    const reading = await site.start();
    for (let seq = 1; seq <= TOKENS; seq++) {
      await site.open(seq);
      expect(await reading.position()).toBe(seq);
      expect(await site.made()).toBe(seq);
    }
    await reading.rest();
    expect(reading.said.at(-1)).toContain('"completed_normally":true');
  });

  it("hand on what is said at once to clients that would take it compressed", async () => {
    const response = await site.nginx.fetch(
      "/v1/stream",
      postOf(PROMPT, { "accept-encoding": "gzip, br" }),
    );
    const names = ["content-type", "cache-control", "content-encoding", "x-accel-buffering"];
    expect(names.map((name) => response.headers.get(name))).toEqual([
      "text/event-stream; charset=utf-8",
      "no-cache, no-store, no-transform",
      null,
      // It is for nginx, which keeps it.
      null,
    ]);
    const reading = new Reading(response);
    await site.open(1);
    expect(await reading.position()).toBe(1);
    await reading.leave();
  });

  it("go on with each other's streams, byte for byte, for a client that was cut off", async () => {
    const reading = await site.start("/v1/stream", PAUSED);
    const path = `/v1/streams/${reading.stream}`;
    await site.open(7);
    for (let seq = 1; seq <= 7; seq++) expect(await reading.position()).toBe(seq);
    await reading.leave();
    const resumed = new Reading(await site.resume(reading));
    await site.open(TOKENS);
    await resumed.rest();
    const [near, far] = await Promise.all(site.replicas.map(async ({ address }) => {
      const whole = new Reading(await fetch(`http://${address}${path}`));
      await whole.rest();
      return whole.text;
    }));
    expect(reading.text + resumed.text).toBe(near!);
    expect(far).toBe(near!);
    expect(near!.split("\n\n").length).toBe(TOKENS + 2);
    // Tokens say which server made them, the log says which one was asked for the rest.
    const maker = site.replicas.find(({ pid }) => reading.said[0]!.includes(`"${pid}:1 "`))!;
    const [other] = site.replicas.filter((replica) => replica !== maker);
    expect((await site.nginx.logged(path, 1))[0]!.upstreams).toEqual([other!.address]);
  });

  it("speak over a WebSocket, and see its end", async () => {
    const client = new Client(site.nginx.socket("/v1/stream"));
    await client.opened();
    client.socket.send(JSON.stringify({ type: "request", ...PROMPT }));
    for (let seq = 1; seq <= 3; seq++) {
      await site.open(seq);
      expect(await client.next("token", seq)).toMatchObject({ seq });
      expect(await site.made()).toBe(seq);
    }
    client.socket.close();
    for (const replica of site.replicas) {
      expect(await replica.idle()).toMatchObject({ active: 0, readers: 0 });
    }
  });

  it.each([["between tokens", 3], ["in silence", 0]] as const)(
    "see that a client goes %s",
    async (_when, tokens) => {
      const reading = await site.start();
      await site.open(tokens);
      for (let seq = 1; seq <= tokens; seq++) expect(await reading.position()).toBe(seq);
      await reading.leave();
      for (const replica of site.replicas) {
        expect(await replica.idle()).toMatchObject({ active: 0, readers: 0 });
      }
    },
  );

  it.each(
    [
      ["a body without a prompt", "POST", "/v1/stream", "{}", {}, 400],
      ["a body that is no JSON", "POST", "/v1/chat/completions", "{", {}, 400],
      [
        "a page of another origin",
        "POST",
        "/v1/stream",
        "{}",
        { origin: "https://evil.test" },
        403,
      ],
      ["a stream that is none", "GET", `/v1/streams/${"0".repeat(32)}`, null, {}, 404],
      ["a method that is none", "PUT", "/v1/stream", "{}", {}, 405],
      ["a body that is too large", "POST", "/v1/stream", " ".repeat(1_500_000), {}, 413],
    ] as const,
  )("refuse %s in their own words", async (_what, method, path, body, headers, status) => {
    const init = { method, body, headers: { ...headers } };
    const [near, far] = await Promise.all([
      fetch(`http://${site.replicas[0].address}${path}`, init),
      site.nginx.fetch(path, init),
    ]);
    for (const { status: told } of [near, far]) expect(told).toBe(status);
    for (const name of ["content-type", "allow", "retry-after"]) {
      expect(far.headers.get(name)).toBe(near.headers.get(name));
    }
    const text = await far.text();
    expect(text).toBe(await near.text());
    expect(text).toContain('"message":"Cannot ');
  });

  it("know a page of their own, because the host comes with its port", async () => {
    const origin = site.nginx.url;
    const reading = new Reading(await site.nginx.fetch("/v1/stream", postOf(PROMPT, { origin })));
    await reading.leave();
  });

  it("leave no prompt and no ticket in the log of nginx", async () => {
    const query = "prompt=canary-prompt&ticket=canary-ticket";
    const accept = { headers: { accept: "text/event-stream" } };
    await (await site.nginx.fetch(`/chat/stream?${query}`, accept)).body?.cancel();
    await site.nginx.logged("/chat/stream", 1);
    expect(site.nginx.logText()).not.toContain("canary");
  });

  it("are reached by TLS alone", async () => {
    const url = `http://127.0.0.1:${site.nginx.plainPort}/v1/stream?a=b`;
    const response = await fetch(url, { redirect: "manual" });
    expect(response.status).toBe(308);
    expect(response.headers.get("location")).toBe("https://127.0.0.1/v1/stream?a=b");
    await response.body?.cancel();
  });

  it.each(["kill", "stop"] as const)(
    "lose no token and say none twice when one gets a %s",
    async (how) => {
      await using doomed = await Site.start({ store: redis.url });
      const reading = await doomed.start("/v1/stream", PAUSED);
      await doomed.open(5);
      const first = await reading.next();
      const maker = Number(JSON.parse(first!.data!).token.split(":")[0]);
      for (let seq = 2; seq <= 5; seq++) expect(await reading.position()).toBe(seq);
      const lost = doomed.replicas.find(({ pid }) => pid === maker)!;
      const left = doomed.replicas.find(({ pid }) => pid !== maker)!;
      await lost[how]();
      // A kill breaks the connection off, a stop says that the client is to come back.
      await reading.rest().catch(() => expect(how).toBe("kill"));
      const events = reading.said.map((text) => text.split(" ")[1]);
      expect(events).toEqual([
        ...Array(5).fill("token"),
        ...(how === "stop" ? ["shutdown"] : []),
      ]);
      await left.open(TOKENS);
      const resumed = new Reading(await takenOver(doomed, reading));
      await resumed.rest();
      const said = [...reading.said.slice(0, 5), ...resumed.said];
      const tokens = said.slice(0, -1).map((text) => JSON.parse(text.split(" token ")[1]!).token);
      expect(tokens).toEqual(
        Array.from({ length: TOKENS }, (_, i) => `${i < 5 ? maker : left.pid}:${i + 1} `),
      );
      expect(said.at(-1)).toContain('"completed_normally":true');
      // Nobody else notices anything: what the lost one refuses goes to the other.
      for (let i = 0; i < 4; i++) await (await doomed.start()).rest();
    },
  );

  it("refuse a stream too many in their own words", async () => {
    await using full = await Site.start({ streamsMax: 1 });
    for (const { address } of full.replicas) {
      await (await fetch(`http://${address}/v1/stream`, postOf(PAUSED))).body?.cancel();
    }
    const near = await fetch(`http://${full.replicas[0].address}/v1/stream`, postOf(PROMPT));
    const far = await full.nginx.fetch("/v1/stream", postOf(PROMPT));
    expect([near.status, far.status]).toEqual([429, 429]);
    expect(far.headers.get("retry-after")).toMatch(/^\d+$/);
    expect(await far.text()).toBe(await near.text());
  });
});
