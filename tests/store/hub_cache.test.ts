import { describe, expect, it } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HubCache } from "../../src/store/hub_cache.ts";

const COMMIT = "a".repeat(40);
const OTHER = "b".repeat(40);
const HASH = "c".repeat(64);

/** A cache in a folder of its own. */
function newCache(): Disposable & { readonly folder: string; readonly cache: HubCache } {
  const folder = mkdtempSync(join(tmpdir(), "sluice-hub-cache-"));
  return {
    folder,
    cache: new HubCache(folder),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}

describe("HubCache", () => {
  it("is empty where there is no folder", () => {
    const cache = new HubCache("/nowhere/at/all");
    expect(cache.list()).toEqual([]);
    expect(cache.files("owner/tiny")).toEqual([]);
  });

  it("shows a content by its name, in folders too, over and over", () => {
    using place = newCache();
    const { cache, folder } = place;
    mkdirSync(cache.blobs("owner/tiny"), { recursive: true });
    writeFileSync(join(cache.blobs("owner/tiny"), HASH), "content");
    for (const commit of [COMMIT, COMMIT, OTHER]) {
      const path = cache.show("owner/tiny", commit, "sub/a.gguf", HASH);
      expect(path).toBe(join(folder, "models--owner--tiny", "snapshots", commit, "sub", "a.gguf"));
      expect(readFileSync(path, "utf8")).toBe("content");
      expect(cache.files("owner/tiny")).toEqual([{ repo: "owner/tiny", file: "sub/a.gguf", path }]);
    }
    const repo = join(folder, "models--owner--tiny");
    expect(readdirSync(join(repo, "refs"))).toEqual(["main"]);
    expect(readdirSync(join(repo, "snapshots", OTHER, "sub"))).toEqual(["a.gguf"]);
  });

  it("shows the new content of a name that had another", () => {
    using place = newCache();
    const { cache } = place;
    mkdirSync(cache.blobs("owner/tiny"), { recursive: true });
    for (const [hash, content] of [[HASH, "old"], ["d".repeat(64), "new"]] as const) {
      writeFileSync(join(cache.blobs("owner/tiny"), hash), content);
      const path = cache.show("owner/tiny", COMMIT, "a.gguf", hash);
      expect(readFileSync(path, "utf8")).toBe(content);
    }
  });

  it("steps over what other tools keep in the folder, and over what is broken", () => {
    using place = newCache();
    const { cache, folder } = place;
    const makers = [
      "datasets--o--d",
      "models--o",
      ".locks",
      "models--a--broken",
      "models--o--none",
    ];
    for (const name of makers) mkdirSync(join(folder, name, "refs"), { recursive: true });
    writeFileSync(join(folder, "version.txt"), "1");
    writeFileSync(join(folder, "models--a--broken", "refs", "main"), "no commit");
    expect(cache.list()).toEqual([]);
  });
});
