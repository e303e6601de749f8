import { describe, expect, it } from "bun:test";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { checkAdvisories } from "../../../tools/audit/advisories.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** What is found where a registry answers so. */
async function asked(status: number, body: string) {
  const paths: string[] = [];
  const registry = createServer((request, response) => {
    paths.push(`${request.method} ${request.url}`);
    request.resume().once("end", () => response.writeHead(status).end(body));
  }).listen(0, "127.0.0.1");
  await once(registry, "listening");
  const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`;
  try {
    const env = { NPM_CONFIG_REGISTRY: url, BUN_CONFIG_REGISTRY: url };
    return { paths, finding: await checkAdvisories(root, env) };
  } finally {
    registry.closeAllConnections();
    registry.close();
  }
}

const ADVISORY = {
  id: 1,
  url: "https://x.test/GHSA-1",
  title: "It leaks",
  severity: "high",
  vulnerable_versions: "<=6.0.0",
};

describe("checkAdvisories()", () => {
  it(
    "asks the registry by the client of the lock, and finds nothing where it knows nothing",
    async () => {
      const { paths, finding } = await asked(200, "{}");
      expect(paths).toEqual(["POST /-/npm/v1/security/advisories/bulk"]);
      expect(finding).toEqual({
        subject: "advisories",
        says: "the registry knows of none",
        faults: [],
      });
    },
    30_000,
  );

  it("tells each weakness of each package", async () => {
    const { finding } = await asked(200, JSON.stringify({ ioredis: [ADVISORY] }));
    expect(finding.faults)
      .toEqual(["ioredis <=6.0.0: It leaks (high, https://x.test/GHSA-1)"]);
    expect(finding.isUnknown).toBe(undefined);
  }, 30_000);

  it.each([
    [405, "{}"],
    [404, '{"error":"no"}'],
    [200, '{"error":"no"}'],
    [200, "<html>"],
    [503, ""],
  ])("cannot tell where the registry answers %d %s", async (status, body) => {
    const { finding } = await asked(status, body);
    expect(finding).toMatchObject({ isUnknown: true, faults: [] });
    expect(finding.says).toMatch(/^cannot tell: .*"error: /);
  }, 30_000);
});
