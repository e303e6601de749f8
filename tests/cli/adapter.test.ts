/** Which adapter listens: by runtime, address and option, and as a running command. */
import { describe, expect, it } from "bun:test";
import { adapterFor, loadAdapter } from "../../src/cli/adapter.ts";
import { createHandler } from "../../src/server/mod.ts";
import { MockGenerator } from "../support/mock_generator.ts";

const own = "Deno" in globalThis ? "deno" : "bun";
const other = own === "deno" ? "bun" : "deno";

describe("adapterFor()", () => {
  it.each(["127.0.0.1", "localhost", "::1"])("is the runtime's own on %s", (host) => {
    expect(adapterFor(host)).toBe(own);
    expect(adapterFor(host, "node")).toBe("node");
  });

  it.each(["0.0.0.0", "::", "192.168.1.5", "model.example"])(
    "is node on Deno and bun on Bun where others reach %s",
    (host) => {
      expect(adapterFor(host)).toBe(own === "deno" ? "node" : "bun");
      expect(adapterFor(host, own)).toBe(own);
    },
  );

  it("refuses one that this runtime does not have", () => {
    for (const name of [other, "express", ""]) {
      expect(() => adapterFor("127.0.0.1", name)).toThrow(
        `Cannot use --adapter ${name}: expected ${own} or node on this runtime`,
      );
    }
  });
});

describe("loadAdapter()", () => {
  it.each([own, "node"] as const)("gives the one of %s, which serves", async (name) => {
    const serve = await loadAdapter(name);
    const server = await serve({ handler: createHandler(new MockGenerator()), port: 0 });
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    await server.stop();
  });
});
