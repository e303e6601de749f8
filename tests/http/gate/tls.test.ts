/** serve() with TLS: HTTP/1.1 on both runtimes, HTTP/2 where the runtime speaks it. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:http2";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunningServer, Tls } from "../../../src/server/adapters/server.ts";
import { createHandler } from "../../../src/server/handler.ts";
import { endless, MockGenerator, saying } from "../../support/mock_generator.ts";
import { ADAPTERS, serveHere } from "../../support/serve_here.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const isDeno = "Deno" in globalThis;
const BODY = JSON.stringify({ prompt: "Hi" });

/** A certificate for this machine, signed by itself. */
function selfSigned(): Tls {
  const folder = mkdtempSync(join(tmpdir(), "sluice-tls-"));
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  const files = ["-days", "2", "-nodes", "-keyout", key, "-out", cert];
  try {
    execFileSync("openssl", ["req", "-x509", ...curve, ...subject, ...files], { stdio: "ignore" });
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Status and body of a POST over HTTP/1.1; the certificate is checked. */
function post(url: string, ca: string): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method: "POST", ca, agent: false }, (response) => {
      let text = "";
      response.on("data", (piece) => text += piece);
      response.on("end", () => resolve({ status: response.statusCode, text }));
    });
    asked.on("error", reject);
    asked.end(BODY);
  });
}

describe.each(ADAPTERS)("serve() on %s with a certificate", (_name, serve) => {
  const speaksHttp2 = isDeno && serve === serveHere;
  const mock = new MockGenerator(saying("Hello"));
  let tls: Tls;
  let server: RunningServer;
  beforeAll(async () => {
    if (!hasOpenssl) return;
    tls = selfSigned();
    server = await serve(createHandler(mock), 0, { tls });
  });
  afterAll(async () => {
    if (hasOpenssl) await server.stop();
  });

  it.skipIf(!hasOpenssl)("streams over HTTP/1.1 and says https (needs openssl)", async () => {
    expect(server.url).toBe(`https://127.0.0.1:${server.port}`);
    const { status, text } = await post(`${server.url}/v1/stream`, tls.cert);
    expect(status).toBe(200);
    expect(text).toContain("event: complete");
  });

  it.skipIf(!hasOpenssl)("does not answer plain HTTP (needs openssl)", async () => {
    await expect(fetch(`http://127.0.0.1:${server.port}/health`)).rejects.toThrow();
  });

  it.skipIf(!hasOpenssl)(
    "speaks HTTP/2 on Deno.serve, where a client that goes frees its generation (needs openssl)",
    async () => {
      mock.script = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));
      const client = connect(server.url, { ca: tls.cert });
      const refused = new Promise((resolve) => client.once("error", () => resolve("refused")));
      const stream = client.request({ ":method": "POST", ":path": "/v1/stream" });
      const first = new Promise((resolve) => stream.once("data", () => resolve("data")));
      stream.on("error", () => undefined);
      stream.end(BODY);
      // The others keep to HTTP/1.1, and say so before anything is sent.
      expect(await Promise.race([first, refused])).toBe(speaksHttp2 ? "data" : "refused");
      await mock.until(() => mock.active === (speaksHttp2 ? 1 : 0));
      client.destroy();
      await mock.until(() => mock.active === 0);
      expect(mock.aborted).toBe(speaksHttp2 ? 1 : 0);
    },
  );

  it.skipIf(!hasOpenssl)("refuses a certificate that is none (needs openssl)", async () => {
    const broken = { cert: "none", key: "none" };
    await expect(serve(createHandler(mock), 0, { tls: broken })).rejects.toThrow();
  });
});
