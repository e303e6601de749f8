import { afterEach, describe, expect, it } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { ModelError } from "../../src/errors.ts";
import { knownModels, resolveModel } from "../../src/store/reference.ts";

const before = process.env.SLUICE_CACHE;
const folder = mkdtempSync(join(tmpdir(), "sluice-store-"));

afterEach(() => {
  if (before === undefined) delete process.env.SLUICE_CACHE;
  else process.env.SLUICE_CACHE = before;
  rmSync(folder, { recursive: true, force: true });
});

function refusal(ref: string): ModelError {
  try {
    resolveModel(ref);
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    return error as ModelError;
  }
  throw new Error("it did not fail");
}

describe("resolveModel()", () => {
  it("finds a known model in the cache, when it is whole", () => {
    process.env.SLUICE_CACHE = folder;
    const { file = "", bytes = 0 } = knownModels.smollm2 ?? {};
    const path = join(folder, "models", file);
    expect(refusal("smollm2").message).toBe(
      `Cannot load model "smollm2": ${path} is missing or incomplete, ` +
        "run the set-up first: bun run setup",
    );
    mkdirSync(join(folder, "models"), { recursive: true });
    writeFileSync(path, "half of it");
    expect(refusal("smollm2").hints.length).toBe(1);
    truncateSync(path, bytes);
    expect(resolveModel("smollm2")).toEqual({ path, id: "smollm2" });
  });

  it("takes a path, and names the model by its file", () => {
    mkdirSync(folder, { recursive: true });
    const path = join(folder, "Tiny.Q8_0.GGUF");
    writeFileSync(path, "");
    expect(resolveModel(path)).toEqual({ path, id: "Tiny.Q8_0" });
  });

  it.each([["nowhere.gguf"], ["smollm3"], ["/"], ["/etc/passwd/x"], ["constructor"], [""]])(
    "refuses %j, which is no file, with the names it knows",
    (ref) => {
      const { message } = refusal(ref);
      expect(message).toContain(`Cannot load model "${ref}": no file at /`);
      expect(message).toContain(", expected the path of a GGUF file or one of: smollm2");
    },
  );
});
