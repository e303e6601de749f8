import { afterEach, describe, expect, it } from "bun:test";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { ModelError } from "../../src/errors.ts";
import {
  isInnerPath,
  knownModels,
  parseReference,
  resolveModel,
} from "../../src/store/reference.ts";

const NAMES = ["SLUICE_CACHE", "HF_HUB_CACHE"] as const;
const before = NAMES.map((name) => process.env[name]);
const folder = mkdtempSync(join(tmpdir(), "sluice-store-"));

afterEach(() => {
  for (const [i, name] of NAMES.entries()) {
    if (before[i] === undefined) delete process.env[name];
    else process.env[name] = before[i];
  }
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

describe("resolveModel() of a model of the hub", () => {
  const commit = "a".repeat(40);
  const put = (...files: string[]): string => {
    process.env.HF_HUB_CACHE = folder;
    const repo = join(folder, "models--owner--tiny");
    mkdirSync(join(repo, "refs"), { recursive: true });
    writeFileSync(join(repo, "refs", "main"), commit);
    const snapshot = join(repo, "snapshots", commit);
    mkdirSync(snapshot, { recursive: true });
    for (const file of files) writeFileSync(join(snapshot, file), "");
    return snapshot;
  };

  it("finds it where Hugging Face's tools put it", () => {
    const path = join(put("README.md", "tiny-Q8_0.gguf"), "tiny-Q8_0.gguf");
    for (const ref of ["hf:owner/tiny", "hf:owner/tiny:q8_0", "hf:owner/tiny/tiny-Q8_0.gguf"]) {
      expect(resolveModel(ref)).toEqual({ path, id: "tiny-Q8_0" });
    }
  });

  it("says how to fetch what is not there", () => {
    put("README.md");
    for (const ref of ["hf:owner/other", "hf:owner/tiny", "hf:owner/tiny:Q4_0"]) {
      expect(refusal(ref).message).toBe(
        `Cannot load model "${ref}": it is not on this machine, fetch it first: bun run pull ${ref}`,
      );
    }
  });

  it("asks which one is meant where several are there", () => {
    put("a-F16.gguf", "b-F16.gguf");
    expect(refusal("hf:owner/tiny:F16").message).toContain("it can be several files, name one as");
  });

  it("does not follow a repository out of the cache", () => {
    const snapshot = put("a-F16.gguf");
    writeFileSync(join(folder, "models--owner--tiny", "refs", "main"), `../../${commit}`);
    expect(refusal("hf:owner/tiny").message).toContain("it is not on this machine");
    expect(realpathSync(snapshot)).toContain(commit);
  });
});

describe("parseReference()", () => {
  it.each(
    [
      ["hf:owner/tiny", { kind: "hub", repo: "owner/tiny" }],
      ["hf:Own-er1/Ti.ny_2:Q4_K_M", { kind: "hub", repo: "Own-er1/Ti.ny_2", quant: "Q4_K_M" }],
      ["hf:owner/tiny/a.gguf", { kind: "hub", repo: "owner/tiny", file: "a.gguf" }],
      ["hf:owner/tiny/a b/c.GGUF", { kind: "hub", repo: "owner/tiny", file: "a b/c.GGUF" }],
      ["/a/hf:owner/tiny", { kind: "path", path: "/a/hf:owner/tiny" }],
    ] as const,
  )("reads %s", (ref, reference) => {
    expect(parseReference(ref)).toEqual(reference);
  });

  it.each([
    ["hf:"],
    ["hf:owner"],
    ["hf:/tiny"],
    ["hf:owner/"],
    ["hf:owner/tiny:"],
    ["hf:owner/tiny:Q4:Q8"],
    ["hf:owner/tiny:Q4_0/a.gguf"],
    ["hf:owner/tiny/"],
    ["hf:owner/tiny/a.bin"],
    ["hf:owner/tiny/../a.gguf"],
    ["hf:owner/tiny//a.gguf"],
    ["hf:../../etc"],
    ["hf:owner/.."],
    ["hf:ow--ner/tiny"],
    ["hf:.owner/tiny"],
    ["hf:owner/ti ny"],
    [`hf:owner/${"a".repeat(97)}`],
  ])("refuses %s", (ref) => {
    expect(() => parseReference(ref)).toThrow(
      "expected hf:owner/repo, hf:owner/repo:QUANT or hf:owner/repo/FILE.gguf",
    );
  });
});

describe("isInnerPath()", () => {
  it.each([
    ["a", true],
    ["a/b c/..d", true],
    ["", false],
    ["/a", false],
    ["a/", false],
    ["a//b", false],
    ["./a", false],
    ["a/../b", false],
    ["a\\b", false],
    ["a\0", false],
    ["a\n", false],
  ])("of %j is %s", (path, isInner) => {
    expect(isInnerPath(path)).toBe(isInner);
  });
});
