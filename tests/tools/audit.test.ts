import { describe, expect, it } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { exitCode, lines } from "../../tools/audit.ts";
import { runtimeCommand } from "./setup/workplace.ts";

const good = { subject: "zig", says: "1 version", faults: [] };
const bad = { subject: "zig", says: "1 version", faults: ["One", "Two"] };
const unknown = { subject: "advisories", says: "cannot tell", faults: [], isUnknown: true };

describe("exitCode()", () => {
  it("is 1 for what is wrong, 2 for what cannot be told, and 0 only where all is in order", () => {
    expect(exitCode([good, good])).toBe(0);
    expect(exitCode([good, unknown])).toBe(2);
    expect(exitCode([unknown, bad])).toBe(1);
  });
});

describe("lines()", () => {
  it("writes what is in order, or each fault", () => {
    expect(lines(good)).toBe("zig         1 version\n");
    expect(lines(bad)).toBe("zig         WRONG: One\nzig         WRONG: Two\n");
    expect(lines(unknown)).toBe("advisories  cannot tell\n");
  });
});

describe("tools/audit.ts", () => {
  const program = fileURLToPath(new URL("../../tools/audit.ts", import.meta.url));
  const [runtime = "", ...flags] = runtimeCommand();
  const start = (...args: string[]) =>
    spawnSync(runtime, [...flags, program, ...args], { encoding: "utf8" });

  it("--help says what its exit codes mean", () => {
    const { status, stdout } = start("--help");
    expect(status).toBe(0);
    expect(stdout).toContain("with 2\nwhere the registry does not say");
  }, 30_000);

  it("--sbom writes the same bytes into a file and to standard output", () => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-sbom-"));
    try {
      const file = join(folder, "sbom.json");
      expect(start("--sbom", file).status).toBe(0);
      const { status, stdout } = start("--sbom", "-");
      expect(status).toBe(0);
      expect(stdout).toBe(readFileSync(file, "utf8"));
      expect(JSON.parse(stdout)).toMatchObject({ bomFormat: "CycloneDX", specVersion: "1.6" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 30_000);
});
