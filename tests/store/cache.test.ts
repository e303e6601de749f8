import { describe, expect, it } from "bun:test";
import { homedir } from "node:os";
import process from "node:process";
import { cacheFolder, modelsFolder } from "../../src/store/cache.ts";

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
