import { describe, expect, it } from "bun:test";
import { readFile } from "node:fs/promises";
import { offlineConfig } from "../tools/offline_config.ts";

const root = new URL("../", import.meta.url);
const readJson = async (path: string): Promise<Record<string, Record<string, string>>> =>
  JSON.parse(await readFile(new URL(path, root), "utf8"));

const deno = await readJson("deno.json");
const npm = await readJson("package.json");
const standIn = await readJson("tools/std_http/deno.json");

describe("deno.json and package.json", () => {
  it.each(["name", "version", "license", "exports"])("agree on %s", (field) => {
    expect(deno[field]).toEqual(npm[field]);
  });

  it("pin the same version of every package", () => {
    const pins: Record<string, string> = { ...npm["dependencies"], ...npm["devDependencies"] };
    for (const [name, specifier] of Object.entries(deno["imports"] ?? {})) {
      if (specifier.startsWith("npm:")) expect(specifier).toBe(`npm:${name}@${pins[name]}`);
    }
  });

  it("pin exact versions, so that a new release changes nothing", () => {
    const pins = Object.values({ ...npm["dependencies"], ...npm["devDependencies"] });
    expect(pins.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  it("have the same scripts by the same names, the server aside", () => {
    const names = Object.keys(npm["scripts"] ?? {}).map((name) =>
      name === "server" ? "serve" : name
    );
    expect(Object.keys(deno["tasks"] ?? {}).sort()).toEqual(names.sort());
  });
});

describe("deno.offline.json", () => {
  it("is deno.json with the stand-in linked: run tools/offline_config.ts", async () => {
    const text = await readFile(new URL("deno.offline.json", root), "utf8");
    expect(JSON.parse(text)).toEqual(JSON.parse(await offlineConfig()));
  });
});

describe("the stand-in of @std/http", () => {
  it("has a version that deno.json accepts", () => {
    expect(deno["imports"]?.["@std/http"]).toBe(`jsr:@std/http@^${standIn["version"]}`);
  });

  it("is what tsc reads, module by module", async () => {
    const { compilerOptions } = JSON.parse(
      await readFile(new URL("tsconfig.json", root), "utf8"),
    ) as { compilerOptions: { paths: Record<string, string[]> } };
    const modules = Object.entries(standIn["exports"] ?? {}).map(([name, path]) => [
      name.replace("./", "@std/http/"),
      [path.replace("./", "./tools/std_http/")],
    ]);
    expect(compilerOptions.paths).toEqual(Object.fromEntries(modules));
  });
});
