import { describe, expect, it } from "bun:test";
import type { IncomingMessage } from "node:http";
import { PassThrough } from "node:stream";
import { requestOf } from "../../../src/server/adapters/node_message.ts";

/** A request as node:http tells it. */
function incoming(
  method: string,
  url: string,
  headers: readonly [string, string][] = [["Host", "localhost:8080"]],
  socket: object = { localAddress: "::ffff:10.0.0.7", localPort: 8080 },
): IncomingMessage {
  const made: unknown = Object.assign(new PassThrough(), {
    method,
    url,
    rawHeaders: headers.flat(),
    socket,
  });
  return made as IncomingMessage;
}

describe("requestOf()", () => {
  it("takes the host of the header, and that of an absolute target before it", () => {
    expect(requestOf(incoming("GET", "/a?b"))?.url).toBe("http://localhost:8080/a?b");
    const absolute = requestOf(incoming("GET", "http://evil.test/a"));
    expect(absolute?.url).toBe("http://evil.test/a");
    expect(absolute?.headers.get("host")).toBe("evil.test");
  });

  it("takes the address of the server where no host, or none that can be read, is named", () => {
    expect(requestOf(incoming("GET", "/a", []))?.url).toBe("http://10.0.0.7:8080/a");
    for (const host of ["a b<>", "x/y", "user@localhost", "localhost:99999999", ""]) {
      const request = requestOf(incoming("GET", "/a", [["Host", host]]));
      expect([request?.url, request?.headers.get("host")]).toEqual([
        "http://10.0.0.7:8080/a",
        host,
      ]);
    }
    const ipv6 = { localAddress: "::1", localPort: 80, encrypted: true };
    expect(requestOf(incoming("GET", "/a", [], ipv6))?.url).toBe("https://[::1]:80/a");
  });

  it("shows a header that came twice", () => {
    const request = requestOf(incoming("GET", "/", [["Host", "localhost"], ["host", "evil.test"]]));
    expect(request?.headers.get("host")).toBe("localhost, evil.test");
  });

  it("makes none of what no Request can be", () => {
    expect(requestOf(incoming("TRACE", "/"))).toBe(undefined);
    expect(requestOf(incoming("GET", "file:///etc/passwd"))).toBe(undefined);
    expect(requestOf(incoming("GET", "health"))).toBe(undefined);
  });

  it("gives the body as it is read, whole", async () => {
    const message = incoming("POST", "/");
    const request = requestOf(message);
    const stream = message as unknown as PassThrough;
    for (const piece of ["one ", "two ", "three"]) stream.write(piece);
    stream.end();
    expect(await request?.text()).toBe("one two three");
  });

  it("fails the body of a request that breaks off", async () => {
    const message = incoming("POST", "/");
    const text = requestOf(message)?.text();
    (message as unknown as PassThrough).write("half");
    await new Promise((resolve) => setTimeout(resolve, 5));
    message.destroy();
    await expect(text).rejects.toThrow();
  });
});
