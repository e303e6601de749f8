import { describe, expect, it } from "bun:test";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { reachesFloor, runtimePath, RUNTIMES } from "../../tools/runtimes.ts";

describe("reachesFloor()", () => {
  it.each([
    ["1.4.0", true],
    ["1.10.0", true],
    ["2.0.0", true],
    ["deno 1.4.5 (stable, release, x86_64-unknown-linux-gnu)\nv8 15.0.245.2", true],
    ["1.3.99", false],
    ["0.9.0", false],
    ["", false],
  ])("of 1.4 for %j is %s", (text, reaches) => {
    expect(reachesFloor(text, [1, 4])).toBe(reaches);
  });
});

describe("runtimePath()", () => {
  it.each([...RUNTIMES])("gives a binary that is %s", async (name) => {
    const { stdout } = await promisify(execFile)(await runtimePath(name), ["--version"]);
    expect(stdout).toMatch(name === "deno" ? /^deno \d/ : /^\d/);
  }, 120_000);
});
