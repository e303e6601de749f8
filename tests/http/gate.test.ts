/** HostGate and refuseCrossSite(): who may ask at all. */
import { describe, expect, it } from "bun:test";
import { RequestError } from "../../src/errors.ts";
import { HostGate, refuseCrossSite } from "../../src/server/gate.ts";
import { get } from "../support/requests.ts";

/** 200, or the status of what was thrown. */
function statusOf(check: () => void): number {
  try {
    check();
    return 200;
  } catch (error) {
    expect(error).toBeInstanceOf(RequestError);
    return (error as RequestError).status;
  }
}

describe("HostGate", () => {
  const gate = new HostGate(["Model.Example", "[FD00::1]"]);
  it.each(
    [
      ["localhost", 200],
      ["LOCALHOST:8080", 200],
      ["127.0.0.1:1", 200],
      ["[::1]", 200],
      ["[::1]:8080", 200],
      ["model.example", 200],
      ["MODEL.example:443", 200],
      ["[fd00::1]:80", 200],
      ["evil.test", 403],
      ["localhost.evil.test", 403],
      ["evil.test:8080", 403],
      ["localhost.", 403],
      ["127.0.0.2", 403],
      ["0.0.0.0:8080", 403],
      ["[::]", 403],
      ["model.example.evil.test", 403],
      ["localhost, localhost", 400],
      ["a b<>", 400],
      ["localhost:port", 400],
      ["localhost:123456", 400],
      ["localhost:", 400],
      ["user@localhost", 400],
      ["::1", 400],
      ["", 400],
    ] as const,
  )("answers Host %j with %d", (host, status) => {
    expect(statusOf(() => gate.check(get("/", { host })))).toBe(status);
  });

  it('lets every well-formed host pass where hosts is "*"', () => {
    const open = new HostGate("*");
    expect(statusOf(() => open.check(get("/", { host: "evil.test:1" })))).toBe(200);
    expect(statusOf(() => open.check(get("/", { host: "a, b" })))).toBe(400);
  });

  it("takes the host of the URL where a request in process has no header", () => {
    expect(statusOf(() => gate.check(new Request("http://model.example:99/")))).toBe(200);
    expect(statusOf(() => gate.check(new Request("http://[::1]/")))).toBe(200);
    expect(statusOf(() => gate.check(new Request("http://evil.test/")))).toBe(403);
  });
});

describe("refuseCrossSite()", () => {
  it.each(
    [
      [{ "sec-fetch-site": "cross-site" }, 403],
      [{ "sec-fetch-site": "same-site" }, 200],
      [{ "sec-fetch-site": "same-origin" }, 200],
      [{ "sec-fetch-site": "none" }, 200],
      [{}, 200],
    ] as const,
  )("answers %j with %d", (headers, status) => {
    expect(statusOf(() => refuseCrossSite(get("/", headers)))).toBe(status);
  });
});
