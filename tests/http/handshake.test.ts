/** Which requests open a WebSocket, and which are refused. */
import { describe, expect, it } from "bun:test";
import { checkHandshake, wantsSocket } from "../../src/server/handshake.ts";
import { HANDSHAKE } from "../support/fake_socket.ts";

describe("checkHandshake()", () => {
  const check = (url: string, headers: Record<string, string>) => (): void =>
    checkHandshake(new Request(url, { headers: { ...HANDSHAKE, ...headers } }));

  it("compares the page's host and port with the Host, whatever the scheme and the case", () => {
    const url = "http://127.0.0.1:80/v1/stream";
    expect(check(url, { host: "My.test:81", origin: "https://my.test:81" })).not.toThrow();
    expect(check(url, { host: "my.test:81", origin: "https://my.test" })).toThrow(/another origin/);
  });
});

describe("wantsSocket()", () => {
  it.each(
    [
      ["GET", "WebSocket", true],
      ["GET", "h2c", false],
      ["POST", "websocket", false],
    ] as const,
  )("of %s with Upgrade: %s is %s", (method, upgrade, wants) => {
    const request = new Request("http://localhost/", { method, headers: { upgrade } });
    expect(wantsSocket(request)).toBe(wants);
  });
});
