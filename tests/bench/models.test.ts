import { describe, expect, it } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { modelNames, prepareModel } from "../../bench/models.ts";
import type { Workshop } from "../../bench/workshop.ts";
import { ModelError } from "../../src/errors.ts";
import { readGguf } from "../../src/gguf/reader.ts";
import { modelsFolder } from "../../src/store/cache.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { checkoutRoot } from "../../tools/setup.ts";

const real = resolveModel("smollm2").path;

function workshop(signal = new AbortController().signal): Workshop & { lines: string[] } {
  const lines: string[] = [];
  const output = { write: (line: string) => void lines.push(line) };
  return { root: checkoutRoot(), output, signal, lines };
}

/** Runs with a cache of its own that has the real model. */
async function inCache(run: (folder: string) => Promise<void>): Promise<void> {
  const cache = mkdtempSync(join(tmpdir(), "sluice-bench-models-"));
  const before = process.env.SLUICE_CACHE;
  process.env.SLUICE_CACHE = cache;
  try {
    mkdirSync(modelsFolder(cache));
    symlinkSync(real, join(modelsFolder(cache), basename(real)));
    await run(join(cache, "bench"));
  } finally {
    if (before === undefined) delete process.env.SLUICE_CACHE;
    else process.env.SLUICE_CACHE = before;
    rmSync(cache, { recursive: true });
  }
}

describe("prepareModel()", () => {
  it("takes the real model as it is, by either of its names", async () => {
    for (const name of [modelNames[0]!, "smollm2"]) {
      expect(await prepareModel(name, workshop())).toEqual({ name: "q4_1", path: real });
    }
  });

  it("takes the path of a file", async () => {
    expect(await prepareModel(real, workshop())).toEqual({ name: basename(real), path: real });
  });

  it("refuses what is neither a name nor a file", async () => {
    await expect(prepareModel("/nowhere/q9_9.gguf", workshop())).rejects.toThrow(ModelError);
  });

  it("makes a file of another type once, and leaves nothing else", async () => {
    await inCache(async (folder) => {
      const { name, path } = await prepareModel("q4_0", workshop());
      expect(name).toBe("q4_0");
      expect(dirname(path)).toBe(folder);
      expect(readGguf(path).metadata.u32("general.file_type")).toBe(2);
      const { mtimeMs } = statSync(path);
      expect(await prepareModel("q4_0", workshop())).toEqual({ name, path });
      expect(statSync(path).mtimeMs).toBe(mtimeMs);
      expect(readdirSync(folder).filter((file) => !file.startsWith("setup."))).toEqual(
        [basename(path), "logs"],
      );
    });
  }, 60_000);

  it("leaves no file when it is told to stop", async () => {
    await inCache(async (folder) => {
      const stopper = new AbortController();
      const { root } = workshop();
      // The first bar is drawn when the writing has begun.
      const output = { write: () => stopper.abort(new RangeError("stop")), isTTY: true };
      const made = prepareModel("f16", { root, output, signal: stopper.signal });
      await expect(made).rejects.toThrow(RangeError);
      expect(existsSync(join(folder, "tmp"))).toBe(false);
      expect(readdirSync(folder).some((file) => file.endsWith(".gguf"))).toBe(false);
    });
  }, 60_000);
});
