import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { DisposedError, LibraryError } from "../../src/errors.ts";
import { findLibrary, Library, platformPackage } from "../../src/ggml/library.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A file that stands for a library. */
function file(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, "");
  return path;
}

/** Imports packages out of a node_modules folder of the test's own. */
function importFrom(root: string) {
  const require = createRequire(join(root, "package.json"));
  return (name: string): Promise<{ default: string }> =>
    import(pathToFileURL(require.resolve(name)).href);
}

const noPackage = (name: string): Promise<never> => Promise.reject(new Error(`no ${name}`));

describe("findLibrary", () => {
  test("takes SLUICE_LIB before anything else, and throws when it names no file", async () => {
    const override = file("override.so");
    const localBuild = file("local.so");
    const importPackage = () => Promise.resolve({ default: localBuild });
    expect(await findLibrary({ override, importPackage, localBuild })).toBe(override);
    const wrong = findLibrary({ override: join(folder, "none.so"), importPackage, localBuild });
    await expect(wrong).rejects.toThrow(/SLUICE_LIB is ".*none\.so"/);
  });

  test("takes an installed platform package before the local build", async () => {
    const root = join(folder, "installed");
    const home = join(root, "node_modules", platformPackage());
    mkdirSync(home, { recursive: true });
    writeFileSync(join(root, "package.json"), "{}");
    writeFileSync(join(home, "package.json"), '{"type":"module","exports":"./index.js"}');
    const library = join(home, "libsluice.so");
    writeFileSync(library, "");
    writeFileSync(join(home, "index.js"), `export default ${JSON.stringify(library)};`);
    const importPackage = importFrom(root);
    const found = await findLibrary({ override: "", importPackage, localBuild: file("local.so") });
    expect(found).toBe(library);
  });

  test("passes over a package whose library is not there", async () => {
    const localBuild = file("local.so");
    const importPackage = () => Promise.resolve({ default: join(folder, "gone.so") });
    expect(await findLibrary({ override: "", importPackage, localBuild })).toBe(localBuild);
  });

  test("throws one sentence with what to do when there is none", async () => {
    const localBuild = join(folder, "none.so");
    const found = findLibrary({ override: "", importPackage: noPackage, localBuild });
    await expect(found).rejects.toThrow(LibraryError);
    await expect(found).rejects.toThrow(/bun run setup/);
  });
});

describe("Library", () => {
  test("opens the library of this checkout and tells what the CPU path chose", async () => {
    using library = await Library.open();
    expect(library.cpuVariant()).not.toBe("");
    expect(library.native.sluice_cpu_count()).toBeGreaterThan(0);
  });

  test("throws LibraryError for a file that is no library", async () => {
    const override = file("text.so");
    await expect(Library.open({ override })).rejects.toThrow(LibraryError);
  });

  test("turns a failed call into the library's own sentence", async () => {
    using library = await Library.open();
    const { native } = library;
    const path = new TextEncoder().encode("/no/such/file\0");
    const open = () => library.handle(native.sluice_mapping_open(path, 10), "map the file");
    expect(open).toThrow(/^Cannot map the file: .*\/no\/such\/file/);
    expect(() => library.check(-1, "do it")).toThrow(LibraryError);
    expect(library.check(3, "do it")).toBe(3);
  });

  test("throws DisposedError after it was disposed, and ends its threads", async () => {
    const library = await Library.open();
    const { native } = library;
    library[Symbol.dispose]();
    expect(() => library.native).toThrow(DisposedError);
    expect(native.sluice_pool_threads()).toBe(0);
  });
});
