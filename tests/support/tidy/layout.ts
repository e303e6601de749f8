/**
 * Rules on the tree as a whole: its top level, a test for each module, nothing that nobody uses.
 *
 * @module
 */
import { posix } from "node:path";
import { importsOf, resolve } from "./imports.ts";
import { isGenerated, type SourceFile } from "./source.ts";

/** What the project is made of. */
const REQUIRED = [
  "build.zig",
  "deno.json",
  "examples",
  "kernels",
  "mod.ts",
  "package.json",
  "src",
  "tests",
];

/** What may stand beside it. */
const COMPANIONS = new Set([
  ".ci",
  ".gitignore",
  "AGENTS.md",
  "ARCHITECTURE.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "LICENSE",
  "README.md",
  "bench",
  "build.zig.zon",
  "bun.lock",
  "deno.offline.json",
  "docs",
  "tools",
  "tsconfig.json",
]);

/** The eight names of the top level stand, and what is beside them is known. */
export function topLevel(files: readonly SourceFile[]): string[] {
  const names = new Set(files.map(({ path }) => path.split("/")[0] ?? ""));
  const missing = REQUIRED.filter((name) => !names.has(name));
  const foreign = [...names].filter((name) => !REQUIRED.includes(name) && !COMPANIONS.has(name));
  return [
    ...missing.map((name) => `${name}: missing, the top level must have it`),
    ...foreign.map((name) => `${name}: not a name of the top level, move it into a folder`),
  ];
}

/** Words that say nothing of what a file is for. */
const EMPTY_NAMES = /(^|\/|_)(utils?|helpers?|common|misc|managers?)(_|\.|\/)/;

/** Every file and folder is named for what it is. */
export function fileNames(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path }) => {
    if (EMPTY_NAMES.test(path)) return [`${path}: named for nothing, name the noun that it is`];
    if (!path.endsWith(".ts") || /^[a-z0-9_./]+$/.test(path)) return [];
    return [`${path}: write file names in snake_case`];
  });
}

/** Modules of src that no test is named for or imports, with the reason. */
export const UNTESTED: Readonly<Record<string, string>> = {
  "src/core/worker.ts": "one line; every test of the engine runs it",
  "src/engine/engine.ts": "through Model, in tests/engine/model.test.ts",
  "src/engine/generator.ts": "types only",
  "src/engine/host.ts": "through Model, in tests/engine/model.test.ts",
  "src/engine/protocol.ts": "types only",
  "src/load.ts": "in tests/engine/model.test.ts and tests/http/model.test.ts",
  "src/runtime/bun.ts": "through mod.ts, on Bun",
  "src/runtime/deno.ts": "through mod.ts, on Deno",
};

/** The folders of tests where a module's tests may be. */
function testFolders(path: string): string[] {
  const folder = path.replace(/^src\//, "tests/").replace(/[^/]*$/, "");
  return path.startsWith("src/server/") ? [folder, "tests/http/"] : [folder];
}

/** Each module has a test: of its own name, or one in the mirrored folder that imports it. */
export function testedModules(
  files: readonly SourceFile[],
  untested: Readonly<Record<string, string>> = UNTESTED,
): string[] {
  const tests = files.filter(({ path }) => path.endsWith(".test.ts"));
  const isTested = (path: string): boolean =>
    tests.some((file) =>
      file.path === path.replace(/^src\//, "tests/").replace(/\.ts$/, ".test.ts") ||
      (testFolders(path).some((folder) => file.path.startsWith(folder)) &&
        importsOf(file).some(({ specifier }) => resolve(file.path, specifier) === path))
    );
  const modules = files.filter((file) =>
    file.path.startsWith("src/") && file.path.endsWith(".ts") && !isGenerated(file)
  ).map(({ path }) => path);
  const missing = modules.filter((path) => !isTested(path) && untested[path] === undefined);
  const stale = Object.keys(untested).filter((path) => !modules.includes(path) || isTested(path));
  return [
    ...missing.map((path) => `${path}: no test in ${testFolders(path).join(" or ")}, write one`),
    ...stale.map((path) => `${path}: listed in UNTESTED, but it has a test or is gone: unlist it`),
  ];
}

/** Whether a person, a script or another program starts the file. */
function isEntry({ path, code }: SourceFile): boolean {
  return /^(mod\.ts|src\/cli\.ts|build\.zig)$/.test(path) || /^(examples|bench)\//.test(path) ||
    code.includes("import.meta.main");
}

/** The files that a file names: modules by import, sources of kernels by their names. */
function namedFiles(file: SourceFile, files: readonly SourceFile[]): string[] {
  if (file.path.endsWith(".ts")) {
    return importsOf(file).map(({ specifier }) => resolve(file.path, specifier));
  }
  const named = new Set(file.text.match(/[\w.]+\.(?:zig|c|h|map)\b/g));
  // A folder of headers is named as a whole, and a program of the build without its ending.
  const isNamed = (path: string): boolean =>
    named.has(posix.basename(path)) || file.text.includes(`"${posix.dirname(path)}"`) ||
    file.text.includes(`"${posix.parse(path).name}"`);
  return files.map(({ path }) => path).filter(isNamed);
}

function reach(files: readonly SourceFile[], entries: readonly string[]): Set<string> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const waiting = [...entries];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const file = byPath.get(path);
    if (file === undefined || reached.has(path)) continue;
    reached.add(path);
    waiting.push(...namedFiles(file, files));
  }
  return reached;
}

/** No module that only its test uses, and no file that nothing leads to. */
export function unreachableFiles(files: readonly SourceFile[]): string[] {
  const paths = files.map(({ path }) => path);
  const { exports, imports } = JSON.parse(
    files.find(({ path }) => path === "deno.json")?.text ?? "{}",
  );
  const mapped = Object.values<string>({ ...exports, ...imports });
  const entries = [
    ...mapped.filter((path) => path.startsWith("./")).map((path) => path.slice(2)),
    ...files.filter(isEntry).map(({ path }) => path),
    ...paths.filter((path) => path.startsWith("tools/std_http/")),
  ];
  const used = reach(files, entries);
  const tested = reach(files, [...entries, ...paths.filter((path) => path.endsWith(".test.ts"))]);
  return paths
    .filter((path) => /^(src|tests|tools|kernels)\/.*\.(ts|zig|c|h|map)$/.test(path))
    .filter((path) => !(path.startsWith("src/") ? used : tested).has(path))
    .map((path) => `${path}: nothing but a test leads to it, use it or remove it`);
}
