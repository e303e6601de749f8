/** A real nginx with other configurations than the documented one: stickiness, time-outs, none. */
import { describe, expect, it } from "bun:test";
import { readFileSync } from "node:fs";
import { DOCUMENTED, edited, HAS_NGINX } from "../support/nginx.ts";
import { PAUSED, postOf, PROMPT, Reading, Site, TOKENS } from "../support/site.ts";

const deploy = readFileSync(new URL("../../docs/deploy.md", import.meta.url), "utf8");
/** The fenced blocks of nginx's language in the document, in order. */
const [, cookie, mark, address] = [...deploy.matchAll(/^```nginx\n(.*?)^```$/gms)]
  .map(([, text]) => text!);

const UPSTREAM = /^upstream sluice \{\n.*?^\}\n/ms.exec(DOCUMENTED)![0];
const LOCATION = "    location / {\n";

/** What the document makes of the configuration where a cookie holds a client to its server. */
const BY_COOKIE = edited(DOCUMENTED, { [UPSTREAM]: cookie!, [LOCATION]: mark! + LOCATION });
/** The same where its address does. */
const BY_ADDRESS = edited(DOCUMENTED, { [UPSTREAM]: address! });

/** The block that guides to server-sent events print, word for word, in the rest that it needs. */
const GUIDE = `
upstream backend { server 127.0.0.1:8081; server 127.0.0.1:8082; }
log_format sluice '$remote_addr';
server { listen 80; }
server {
  listen 443 ssl http2;
  ssl_certificate /etc/nginx/tls/chat.example.crt;
  ssl_certificate_key /etc/nginx/tls/chat.example.key;
  access_log /var/log/nginx/sluice.log sluice;
# Disable buffering for SSE
location /chat/stream {
    proxy_pass http://backend;
    proxy_buffering off;
    proxy_cache off;
    proxy_set_header Connection '';
    proxy_http_version 1.1;
    chunked_transfer_encoding off;
}
}
`;

/** Starts a stream, reads a token and is cut off. */
async function cutOff(site: Site, headers: Record<string, string> = {}) {
  const response = await site.nginx.fetch("/v1/stream", postOf(PAUSED, headers));
  const reading = new Reading(response);
  expect(await reading.position()).toBe(1);
  await reading.leave();
  return { reading, setCookie: response.headers.get("set-cookie") };
}

describe.skipIf(!HAS_NGINX)("servers without a shared store (needs nginx and openssl)", () => {
  it("keep a client at its server by a cookie", async () => {
    await using site = await Site.start({}, BY_COOKIE);
    await site.open(TOKENS);
    for (let client = 0; client < 8; client++) {
      const { reading, setCookie } = await cutOff(site);
      expect(setCookie).toMatch(/^route=[0-9a-f]{32}; Path=\/; Secure; HttpOnly; SameSite=Lax$/);
      const headers = { cookie: setCookie!.split(";")[0]! };
      const response = await site.resume(reading, headers);
      expect(response.headers.get("set-cookie")).toBe(setCookie);
      const resumed = new Reading(response);
      await resumed.rest();
      expect(reading.said.length + resumed.said.length).toBe(TOKENS + 1);
      // Also the next stream is made there.
      const { reading: next } = await cutOff(site, headers);
      const made = await site.nginx.logged("/v1/stream", 2 * client + 2);
      const went = await site.nginx.logged(`/v1/streams/${reading.stream}`, 1);
      expect(made.slice(-2).map(({ upstreams }) => upstreams))
        .toEqual([went[0]!.upstreams, went[0]!.upstreams]);
      expect(next.stream).not.toBe(reading.stream);
    }
  });

  it("do not all know the stream of a client that sends no cookie back", async () => {
    await using site = await Site.start({}, BY_COOKIE);
    await site.open(TOKENS);
    const { reading } = await cutOff(site);
    const statuses = new Set<number>();
    while (statuses.size < 2) {
      const response = await site.resume(reading);
      statuses.add(response.status);
      await response.body?.cancel();
    }
    expect([...statuses].sort()).toEqual([200, 404]);
  });

  it("keep a client at its server by its address", async () => {
    await using site = await Site.start({}, BY_ADDRESS);
    await site.open(TOKENS);
    for (let client = 0; client < 8; client++) {
      const { reading } = await cutOff(site);
      const resumed = new Reading(await site.resume(reading));
      await resumed.rest();
      expect(reading.said.length + resumed.said.length).toBe(TOKENS + 1);
    }
  });
});

const TIMEOUT = "proxy_read_timeout    60s;";
const HURRIED = edited(DOCUMENTED, { [TIMEOUT]: "proxy_read_timeout    2s;" });
const PING_MS = 250;
/** Pings in twice the time that nginx waits. */
const PINGS = 4000 / PING_MS;

describe.skipIf(!HAS_NGINX)("two seconds of silence (needs nginx and openssl)", () => {
  it("keep a stream that pings, for as long as it is quiet", async () => {
    await using site = await Site.start({ keepAliveMs: PING_MS }, HURRIED);
    const reading = await site.start();
    await reading.pinged(PINGS);
    await site.open(1);
    expect(await reading.position()).toBe(1);
  });

  it("keep an answer in one piece that is waited for", async () => {
    await using site = await Site.start({ keepAliveMs: PING_MS }, HURRIED);
    const { body, status } = await site.nginx.fetch(
      "/v1/chat/completions",
      postOf({ messages: [{ role: "user", content: "Hi" }] }),
    );
    expect(status).toBe(200);
    const reader = body!.getReader();
    let text = "";
    // A space after each silence.
    while (text.length < PINGS) {
      text += new TextDecoder().decode((await reader.read()).value);
    }
    await site.open(TOKENS);
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      text += new TextDecoder().decode(read.value);
    }
    expect(JSON.parse(text)).toHaveProperty("choices");
  });

  it("end one that does not", async () => {
    await using site = await Site.start({ keepAliveMs: 0 }, HURRIED);
    const reading = await site.start();
    expect(await reading.next().catch(() => undefined)).toBe(undefined);
    for (const replica of site.replicas) {
      expect(await replica.idle()).toMatchObject({ active: 0, readers: 0 });
    }
  });
});

describe.skipIf(!HAS_NGINX)("less configuration (needs nginx and openssl)", () => {
  it("buffers nothing for the sake of the header X-Accel-Buffering alone", async () => {
    await using site = await Site.start({}, edited(DOCUMENTED, { "proxy_buffering off;": "" }));
    const reading = await site.start();
    for (let seq = 1; seq <= TOKENS; seq++) {
      await site.open(seq);
      expect(await reading.position()).toBe(seq);
      expect(await site.made()).toBe(seq);
    }
  });

  it("streams with the block of the guides, where the server answers for the name", async () => {
    await using site = await Site.start({ hosts: ["backend"] }, GUIDE);
    const response = await site.nginx.fetch("/chat/stream", postOf(PROMPT));
    expect(response.status).toBe(200);
    const reading = new Reading(response);
    for (let seq = 1; seq <= TOKENS; seq++) {
      await site.open(seq);
      expect(JSON.parse((await reading.next())!.data!)).toMatchObject({ done: false });
      expect(await site.made()).toBe(seq);
    }
  });
});
