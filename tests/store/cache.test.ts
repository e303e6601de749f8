import { describe, expect, it } from "bun:test";
import { homedir } from "node:os";
import process from "node:process";
import { cacheFolder, hubFolder, hubHome, modelsFolder } from "../../src/store/cache.ts";

describe("cacheFolder()", () => {
  it("is SLUICE_CACHE, else below XDG_CACHE_HOME, else the platform's place", () => {
    const all = { SLUICE_CACHE: "/a", XDG_CACHE_HOME: "/b", HOME: "/c" };
    expect(cacheFolder(all)).toBe("/a");
    expect(cacheFolder({ ...all, SLUICE_CACHE: "" })).toBe("/b/sluice");
    const place = process.platform === "darwin" ? "Library/Caches" : ".cache";
    expect(cacheFolder({ HOME: "/c" })).toBe(`/c/${place}/sluice`);
    expect(cacheFolder({})).toBe(`${homedir()}/${place}/sluice`);
  });

  it("is absolute", () => {
    expect(cacheFolder({ SLUICE_CACHE: "here" })).toBe(`${process.cwd()}/here`);
  });
});

describe("modelsFolder()", () => {
  it("is in the cache", () => {
    expect(modelsFolder("/a")).toBe("/a/models");
  });
});

describe("hubFolder()", () => {
  it("is HF_HUB_CACHE, else below HF_HOME, else below XDG_CACHE_HOME or the home", () => {
    const all = { HF_HUB_CACHE: "/a", HF_HOME: "/b", XDG_CACHE_HOME: "/c", HOME: "/d" };
    expect(hubFolder(all)).toBe("/a");
    expect(hubFolder({ ...all, HF_HUB_CACHE: "" })).toBe("/b/hub");
    expect(hubFolder({ XDG_CACHE_HOME: "/c", HOME: "/d" })).toBe("/c/huggingface/hub");
    expect(hubFolder({ HOME: "/d" })).toBe("/d/.cache/huggingface/hub");
    expect(hubFolder({ HF_HUB_CACHE: "here" })).toBe(`${process.cwd()}/here`);
  });
});

describe("hubHome()", () => {
  it("is where the token lies, wherever the files are", () => {
    expect(hubHome({ HF_HUB_CACHE: "/a", HF_HOME: "/b" })).toBe("/b");
  });
});
