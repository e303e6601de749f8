import { describe, expect, it } from "bun:test";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readFileSync } from "node:fs";
import { cacheFolder } from "../../../src/store/cache.ts";
import { parseBunLock, readBunLock } from "../../../tools/audit/bun_lock.ts";
import { checkLock, checkPins, checkVersions } from "../../../tools/audit/pins.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

describe("checkPins()", () => {
  it("finds nothing wrong in this checkout, and looks at all that it is made of", async () => {
    const findings = await checkPins({ root, cache: cacheFolder() });
    expect(findings.flatMap(({ faults }) => faults)).toEqual([]);
    expect(findings.map(({ subject }) => subject))
      .toEqual(["versions", "bun.lock", "ggml", "zig", "model"]);
    // The set-up has laid them, so they were compared and not only their names.
    expect(findings[2]!.says).toContain("which is the one laid");
    expect(findings[4]!.says).toContain("which is that of the file here");
  }, 30_000);
});

describe("checkVersions()", () => {
  it.each(["^1.0.0", "~1.0.0", "1.x", "*", "latest", "git+https://x.test/a"])(
    "refuses %s",
    (version) => {
      const { faults } = checkVersions({ dependencies: { a: version } });
      expect(faults).toEqual([`package.json asks for a ${version}, expected one version`]);
    },
  );

  it("refuses another version in deno.json, and tells of what has only a range there", () => {
    const { faults, says } = checkVersions({ dependencies: { a: "1.0.0" } }, {
      a: "npm:a@1.0.1",
      "@std/x": "jsr:@std/x@^1.0.0",
      "bun:test": "./tests/support/bun_test.ts",
    });
    expect(faults).toEqual(["deno.json imports npm:a@1.0.1, package.json has a 1.0.0"]);
    expect(says).toContain("jsr:@std/x@^1.0.0");
  });
});

describe("checkLock()", () => {
  const text = readFileSync(join(root, "bun.lock"), "utf8");
  const { asked } = readBunLock(root);
  const { packages: [first] } = readBunLock(root);

  it("refuses a package without a hash, or with another one", () => {
    for (const hash of ["", "sha1-AAAA", first!.integrity.slice(0, -8)]) {
      const { faults } = checkLock(parseBunLock(text.replace(first!.integrity, hash)), asked);
      expect(faults).toEqual([`bun.lock has no sha512 of ${first!.name} ${first!.version}`]);
    }
  });

  it("refuses a lock of another package.json", () => {
    const newer = checkLock(readBunLock(root), { ...asked, valibot: "1.99.0" });
    expect(newer.faults).toEqual(["bun.lock does not have valibot 1.99.0, install again"]);
    const { valibot: _, ...less } = asked;
    expect(checkLock(readBunLock(root), less).faults)
      .toEqual(["bun.lock has valibot, which package.json does not ask for, install again"]);
  });

  it("refuses a package from elsewhere", () => {
    const at = `["${first!.name}@${first!.version}", "`;
    const { faults } = checkLock(parseBunLock(text.replace(at, `${at}https://x.test/`)), asked);
    expect(faults)
      .toEqual([`bun.lock takes ${first!.name} from https://x.test/, expected the registry`]);
  });
});
