/**
 * What no client should send, as bytes on a socket: every row is answered or closed within 15 s,
 * never with a failure of ours, and never with a stack or a path of this machine in the answer.
 */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { connect } from "node:net";
import process from "node:process";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler } from "../../src/server/handler.ts";
import { MockGenerator, saying } from "../support/mock_generator.ts";
import { ADAPTERS } from "../support/serve_here.ts";

const LIMIT_MS = 15_000;
const isDeno = "Deno" in globalThis;

/** A request to health with this in the place of its first line or its headers. */
const line = (first: string): string => `${first}\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
const target = (path: string): string => line(`GET ${path} HTTP/1.1`);
const heads = (...headers: string[]): string =>
  `GET /health HTTP/1.1\r\n${[...headers, "Connection: close"].join("\r\n")}\r\n\r\n`;
const more = (...headers: string[]): string => heads("Host: localhost", ...headers);
/** A request to generate. */
const framed = (headers: string, body = ""): string =>
  `POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n\r\n${body}`;
const sized = (body: string, headers = ""): string =>
  framed(`${headers}Content-Length: ${body.length}`, body);
const chunked = (body: string): string => framed("Transfer-Encoding: chunked", body);

const PROMPT = '{"prompt":"Hi"}';
const CHUNK = `f\r\n${PROMPT}\r\n`;

/** `half` closes the sending side behind it. */
type Row = readonly [name: string, bytes: string, half?: "half"];

const LINES: readonly Row[] = [
  ["a plain request", target("/health")],
  ["HTTP/1.0 without a host", "GET /health HTTP/1.0\r\n\r\n"],
  ["HTTP/0.9", "GET /health\r\n\r\n"],
  ["HTTP/2.0 in the line", line("GET /health HTTP/2.0")],
  ["HTTP/9.9", line("GET /health HTTP/9.9")],
  ["no version at all", line("GET /health ")],
  ["a method in lower case", line("get /health HTTP/1.1")],
  ["an unknown method", line("FOO /health HTTP/1.1")],
  ["a method of 1000 letters", line(`${"A".repeat(1000)} /health HTTP/1.1`)],
  ["a method with a control character", line("G\x01T /health HTTP/1.1")],
  ["TRACE", line("TRACE /health HTTP/1.1")],
  ["CONNECT", line("CONNECT localhost:80 HTTP/1.1")],
  ["OPTIONS *", line("OPTIONS * HTTP/1.1")],
  ["HEAD", line("HEAD /health HTTP/1.1")],
  ["an empty line first", `\r\n${target("/health")}`],
  ["an absolute target", target("http://localhost/health")],
  ["an absolute target of another host", target("http://evil.test/health")],
  ["an absolute target without a host", target("http:///health")],
  ["an absolute target of a file", target("file:///etc/passwd")],
  ["a target with a space", target("/a b")],
  ["a target with NUL", target("/a\0b")],
  ["a target with raw bytes", target("/v1/models/\xff\xfe")],
  ["a target with a fragment", target("/health#x")],
  ["a target that begins with two slashes", target("//evil.test/health")],
  ["a target that climbs", target("/../../etc/passwd")],
  ["a target that climbs, encoded", target("/%2e%2e/%2e%2e/etc/passwd")],
  ["a model that climbs, encoded", target("/v1/models/..%2f..%2fetc%2fpasswd")],
  ["a model that is NUL", target("/v1/models/%00")],
  ["a model that is no encoding", target("/v1/models/%E0%A4%A")],
  ["line ends in an encoded target", target("/v1/models/%0d%0aX-Evil:%20y")],
  ["a target with backslashes", target("\\..\\windows")],
  ["a relative target", target("health")],
  ["a target of 8 KiB", target(`/${"a".repeat(8 << 10)}`)],
  ["a target of 20 KiB", target(`/${"a".repeat(20 << 10)}`)],
  ["a target of 100 KiB", target(`/${"a".repeat(100 << 10)}`)],
  ["a query of 3500 fields", target(`/health?${"a&".repeat(3500)}`)],
  ["the hello of TLS", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + "\x11".repeat(160)],
  ["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["bytes that are no HTTP", "\xde\xad\xbe\xef\r\n\r\n".repeat(50)],
];

const HEADERS: readonly Row[] = [
  ["no Host", heads()],
  ["two Hosts", heads("Host: localhost", "Host: evil.test")],
  ["an empty Host", heads("Host:")],
  ["a Host that is none", heads("Host: a b<>")],
  ["a Host of another name", heads("Host: evil.test")],
  ["a Host with a path", heads("Host: localhost/x")],
  ["a Host with a user", heads("Host: user@localhost")],
  ["a Host with a port that is none", heads("Host: localhost:99999999")],
  ["a Host of 3000 letters", heads(`Host: ${"a".repeat(3000)}`)],
  ["a Host of raw bytes", heads("Host: \xff\xfe")],
  ["a header without a colon", more("X-No-Colon")],
  ["a header with a space before the colon", more("X-Space : y")],
  ["a folded header", more("X-Fold: a\r\n b")],
  ["a header without a name", more(": y")],
  ["a header with NUL", more("X-Nul: a\0b")],
  ["a header with a bare CR", more("X-Cr: a\rb")],
  ["line ends of LF alone", more().replaceAll("\r\n", "\n")],
  ["a header of raw bytes", more("X-Raw: \xff\xfe\x80")],
  ["a header of 17 KiB", more(`X-Long: ${"a".repeat(17 << 10)}`)],
  ["a header of 70 KiB", more(`X-Long: ${"a".repeat(70 << 10)}`)],
  ["300 headers", more(...Array.from({ length: 300 }, (_, i) => `X-${i}: y`))],
  ["a Range", more("Range: bytes=0-1")],
  ["an upgrade to HTTP/2", more("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")],
  ["an Authorization of 4 KiB", more(`Authorization: Bearer ${"a".repeat(4096)}`)],
  [
    "a WebSocket without a key",
    `GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  ],
  [
    "a WebSocket of another version",
    `GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n`,
  ],
  ["an Expect of 100-continue", sized(PROMPT, "Expect: 100-continue\r\n")],
  ["an Expect of something else", sized(PROMPT, "Expect: tea\r\n")],
  ["an empty Idempotency-Key", sized(PROMPT, "Idempotency-Key:\r\n")],
  ["an Idempotency-Key of 300 letters", sized(PROMPT, `Idempotency-Key: ${"k".repeat(300)}\r\n`)],
  ["a Last-Event-ID that is none", sized(PROMPT, "Last-Event-ID: ../../etc\r\n")],
  ["a Last-Event-ID of 4 KiB", sized(PROMPT, `Last-Event-ID: ${"9".repeat(4096)}\r\n`)],
];

const BODIES: readonly Row[] = [
  ["a length and chunks", framed(`Content-Length: 15\r\nTransfer-Encoding: chunked`, PROMPT)],
  ["two lengths that differ", framed("Content-Length: 15\r\nContent-Length: 16", PROMPT)],
  ["two lengths that agree", framed("Content-Length: 15\r\nContent-Length: 15", PROMPT)],
  ["a length below zero", framed("Content-Length: -1", PROMPT)],
  ["a length with a sign", framed("Content-Length: +15", PROMPT)],
  ["a length of a word", framed("Content-Length: many", PROMPT)],
  ["a length of 2^63", framed("Content-Length: 9223372036854775808", PROMPT)],
  ["a length of 30 digits", framed(`Content-Length: ${"9".repeat(30)}`, PROMPT)],
  ["a length over the limit", framed("Content-Length: 2000000", PROMPT)],
  ["another transfer coding", framed("Transfer-Encoding: xchunked", CHUNK)],
  ["chunks twice", framed("Transfer-Encoding: chunked, chunked", `${CHUNK}0\r\n\r\n`)],
  ["chunks of gzip", framed("Transfer-Encoding: gzip, chunked", `${CHUNK}0\r\n\r\n`)],
  ["a chunk size that is none", chunked("zz\r\nab\r\n0\r\n\r\n")],
  ["a chunk size below zero", chunked("-1\r\nab\r\n0\r\n\r\n")],
  ["a chunk size of 2^64", chunked("10000000000000000\r\nab\r\n0\r\n\r\n")],
  ["a chunk longer than its size", chunked(`3\r\n${PROMPT}\r\n0\r\n\r\n`)],
  ["a chunk extension of 20 KiB", chunked(`f;x=${"y".repeat(20 << 10)}\r\n${PROMPT}\r\n0\r\n\r\n`)],
  ["trailers", chunked(`${CHUNK}0\r\nX-Trailer: y\r\nHost: evil.test\r\n\r\n`)],
  ["a request hidden behind its chunks", chunked(`${CHUNK}0\r\n\r\n${target("/none")}`)],
  ["chunks over the limit", chunked(`1e8480\r\n${" ".repeat(2_000_000)}\r\n0\r\n\r\n`)],
  ["no body", framed("Content-Length: 0")],
  ["no length and no body", framed("X: y")],
  ["a body that is no JSON", sized("{prompt: 'Hi'}")],
  ["a body of bytes that are no UTF-8", sized('{"prompt":"\xff\xfe"}')],
  ["a body with a byte order mark", sized(`\xef\xbb\xbf${PROMPT}`)],
  ["a body with NUL", sized('{"prompt":"\0"}')],
  ["a body of 400 000 open arrays", sized("[".repeat(400_000))],
  ["a body of 100 000 nested arrays", sized("[".repeat(100_000) + "]".repeat(100_000))],
  ["a body with a prototype", sized('{"__proto__":{"prompt":"Hi"},"constructor":{}}')],
  ["a body with half a character", sized('{"prompt":"\\ud800"}')],
  ["a number beyond all", sized('{"prompt":"Hi","max_tokens":1e999,"seed":-1e999}')],
  ["a body of null", sized("null")],
  ["a body that is an array", sized("[1,2,3]")],
  ["a field twice", sized('{"prompt":"Hi","prompt":7}')],
  ["a body that says it is gzip", sized("\x1f\x8b\x08\0\0\0\0\0", "Content-Encoding: gzip\r\n")],
  ["a form", sized("--x\r\n\r\n--x--", "Content-Type: multipart/form-data; boundary=x\r\n")],
  ["a GET with a body", more("Content-Length: 15") + PROMPT],
  ["a body that breaks off", framed("Content-Length: 100", PROMPT), "half"],
  ["chunks that break off", chunked("ff\r\n{"), "half"],
  ["headers that break off", "GET /health HTTP/1.1\r\nHost: loc", "half"],
  [
    "two requests at once",
    target("/health").replace("Connection: close\r\n", "") + target("/none"),
  ],
  ["a request and then bytes that are none", target("/health") + "\0\0\0\0"],
];

/** Whether an answer has come to its end. */
function isWhole(text: string): boolean {
  if (text !== "" && !text.startsWith("HTTP/")) return true;
  const [head = "", body] = text.split(/\r\n\r\n(.*)/s);
  if (body === undefined || /^HTTP\/1.1 1\d\d /.test(head)) return false;
  const length = /^content-length: (\d+)/im.exec(head)?.[1];
  if (length !== undefined) return body.length >= Number(length);
  return /^transfer-encoding: chunked/im.test(head) && body.endsWith("0\r\n\r\n");
}

/** What the server says to the bytes; each character of the texts is one byte. */
function answerTo(port: number, bytes: string, half: boolean): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = "";
  const socket = connect(port, "127.0.0.1", () => {
    socket.write(bytes, "latin1");
    if (half) socket.end();
  });
  const timer = setTimeout(() => {
    reject(new Error(`No end after ${LIMIT_MS} ms: ${JSON.stringify(text.slice(0, 200))}`));
    socket.destroy();
  }, LIMIT_MS);
  const end = (): void => {
    clearTimeout(timer);
    resolve(text);
    socket.destroy();
  };
  socket.setEncoding("latin1");
  socket.on("data", (piece) => {
    text += piece;
    if (isWhole(text)) end();
  });
  // What is reset by the server is closed as well.
  socket.on("error", end);
  socket.on("close", end);
  return promise;
}

describe.each(ADAPTERS)("serve() on %s of what no client should send", (_name, serve) => {
  const reported: unknown[] = [];
  let server: RunningServer;
  beforeAll(async () => {
    const onError = (failure: unknown): void => void reported.push(failure);
    server = await serve(createHandler(new MockGenerator(saying("x")), { onError }));
  });
  afterAll(async () => {
    await server.stop();
    expect(reported).toEqual([]);
  });

  for (const [name, bytes, half] of [...LINES, ...HEADERS, ...BODIES]) {
    it(`answers ${name}, or closes`, async () => {
      const text = await answerTo(server.port, bytes, half === "half");
      const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1] ?? 0);
      // Bun says of a version and of line ends that it cannot read that it cannot read them.
      const isRefusedVersion = status === 505 && !isDeno;
      expect(isRefusedVersion ? 0 : status).toBeLessThan(500);
      expect(text).not.toContain(process.cwd());
      expect(text).not.toMatch(/^\s+at .+:\d+|node_modules|\/src\/|root:x:0|^x-evil:/im);
    }, LIMIT_MS + 5000);
  }

  it("has more than 100 rows, and still serves behind them", async () => {
    expect(LINES.length + HEADERS.length + BODIES.length).toBeGreaterThan(100);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });
});
