import { afterEach, describe, expect, it } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { findZig, zig, zigBuild, zigCaches } from "../../../tools/setup/zig.ts";
import { noBar, Workplace } from "./workplace.ts";

const named = process.env.SLUICE_ZIG;
delete process.env.SLUICE_ZIG;

function cached(place: Workplace): string {
  const folder = join(place.cache, "zig", "0.17.0");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "zig"), "");
  return join(folder, "zig");
}

function script(place: Workplace, name: string, version: string): string {
  place.script(name, `[ "$*" = version ] && echo ${version}`);
  return join(place.programs, name);
}

describe("findZig()", () => {
  afterEach(() => {
    delete process.env.SLUICE_ZIG;
  });

  it("prefers SLUICE_ZIG, then zig on PATH, then the cache", () => {
    using place = new Workplace();
    expect(findZig(place)).toBe(undefined);
    const inCache = cached(place);
    expect(findZig(place)).toBe(inCache);
    const onPath = script(place, "zig", "0.17.0");
    expect(findZig(place)).toBe(onPath);
    process.env.SLUICE_ZIG = script(place, "my-zig", "0.17.0");
    expect(findZig(place)).toBe(process.env.SLUICE_ZIG);
    expect(zig.ready(place)).toBe(true);
  });

  it.each([["0.17.1"], ["0.16.0"], ["0.17.0-dev.1"], [""]])("passes over %s on PATH", (version) => {
    using place = new Workplace();
    script(place, "zig", version);
    expect(findZig(place)).toBe(undefined);
    const inCache = cached(place);
    expect(findZig(place)).toBe(inCache);
  });

  it("refuses a SLUICE_ZIG that is another version or does not run", () => {
    using place = new Workplace();
    cached(place);
    process.env.SLUICE_ZIG = script(place, "my-zig", "0.16.0");
    expect(() => findZig(place)).toThrow("my-zig: it is 0.16.0, expected Zig 0.17.0; unset");
    chmodSync(process.env.SLUICE_ZIG, 0o644);
    expect(() => findZig(place)).toThrow("my-zig: it does not run, expected Zig 0.17.0");
  });
});

describe("zigBuild()", () => {
  it("keeps Zig's caches in ours and leaves a given job count alone", () => {
    using place = new Workplace();
    const program = cached(place);
    const [builds, libraries] = zigCaches(place);
    const { command, env } = zigBuild(place, ["test"]);
    expect(command.slice(0, 4)).toEqual([program, "build", "--cache-dir", builds]);
    expect(command.slice(4).join(" ")).toMatch(/^-j\d+ test$/);
    expect(env.ZIG_GLOBAL_CACHE_DIR).toBe(libraries);
    expect(zigBuild(place, ["-j1"]).command.slice(4)).toEqual(["-j1"]);
  });

  it("says how to get Zig where there is none", () => {
    using place = new Workplace();
    expect(() => zigBuild(place, [])).toThrow("put Zig 0.17.0 on PATH, or name it with SLUICE_ZIG");
  });
});

describe("the step", () => {
  it("lays nothing when the wheel is not the pinned one", async () => {
    using place = new Workplace();
    place.script(
      "python3",
      `PATH=$REAL_PATH
      [ "$3" = --version ] && exit 0
      while [ "$1" != --dest ]; do shift; done
      echo fake > "$2/ziglang-0.17.0-py3-none-any.whl"`,
    );
    await expect(zig.run(place, noBar)).rejects.toThrow("Cannot fetch ziglang 0.17.0: its sha256");
    expect(findZig(place)).toBe(undefined);
  });
});

if (named !== undefined) process.env.SLUICE_ZIG = named;
