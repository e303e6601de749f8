import { describe, expect, it } from "bun:test";
import { fileURLToPath } from "node:url";
import * as imports from "./support/tidy/imports.ts";
import * as layout from "./support/tidy/layout.ts";
import { readTree, source, type SourceFile } from "./support/tidy/source.ts";
import * as text from "./support/tidy/text.ts";

const tree = await readTree(fileURLToPath(new URL("..", import.meta.url)));
/** The rules on words name the words, and these tests break the rules on purpose. */
const withoutRules = tree.filter(({ path }) =>
  !/^tests\/(tidy\.test\.ts|support\/tidy\/)/.test(path)
);

type Rule = (files: readonly SourceFile[]) => string[];

/** What each rule promises of the tree. */
const RULES: readonly [string, Rule][] = [
  ["has the eight names of the top level and no unknown one", layout.topLevel],
  ["names every file for what it is", layout.fileNames],
  ["tests every module", (files) => layout.testedModules(files)],
  ["has no file that nothing leads to", layout.unreachableFiles],
  ["imports downward only", imports.importDirection],
  ["imports packages and built-ins where the table says", imports.importedPackages],
  ["imports files by their names", imports.importedFiles],
  ["names Bun and Deno only in the seam and the entries", imports.namedRuntimes],
  ["keeps files short", text.fileLengths],
  ["keeps lines short", text.lineLengths],
  ["keeps functions short", text.functionLengths],
  ["has no any", text.anyTypes],
  ["has no word that does not belong", text.bannedWords],
  ["has no focused test", text.focusedTests],
  ["says of every skipped test what it needs", text.skipReasons],
  ["opens every module with its contract", text.moduleComments],
  ["marks generated files", text.generatedBanners],
  ["writes its own names in camelCase", text.snakeCaseNames],
];

describe("the project", () => {
  it.each(RULES)("%s", (_promise, rule) => {
    const files = rule === text.bannedWords || rule === text.focusedTests ? withoutRules : tree;
    expect(rule(files)).toEqual([]);
  });
});

/** The problems that a rule finds in made-up files, without their advice. */
function find(rule: Rule, files: Record<string, string>): string[] {
  const found = rule(Object.entries(files).map(([path, content]) => source(path, content)));
  return found.map((problem) => problem.replace(/^([^ ]*): .*$/, "$1"));
}

describe("blank code", () => {
  it.each([
    ["f(\"{\", '}'); // {", "f(\" \", ' ');     "],
    ["/* { */ a(`x { ${b({ c: `}` })} {`)", "        a(`    ${b({ c: ` ` })}  `)"],
    ["a / b; c = /[/{]x\\//g.test(d) / 2", "a / b; c =           .test(d) / 2"],
  ])("hides comments, strings and patterns: %s", (typescript, blanked) => {
    expect(source("a.ts", typescript).code).toBe(blanked);
  });

  it("hides the strings of Zig that span lines", () => {
    const { code } = source("a.zig", 'const a =\n\\\\ { "\n;');
    expect(code).toBe(`const a =\n${" ".repeat(6)}\n;`);
  });
});

describe("layout", () => {
  it("topLevel() finds what is missing and what is foreign", () => {
    const problems = find(layout.topLevel, { "mod.ts": "", "lib/a.ts": "" });
    expect(problems).toContain("lib");
    expect(problems).toContain("kernels");
    expect(problems).not.toContain("mod.ts");
  });

  it("fileNames() finds names that say nothing", () => {
    const files = { "src/utils.ts": "", "src/text/bpe.ts": "", "src/fooBar.ts": "" };
    expect(find(layout.fileNames, files)).toEqual(["src/utils.ts", "src/fooBar.ts"]);
  });

  it("testedModules() accepts a test of the name or one beside it that imports the module", () => {
    const files = {
      "src/text/bpe.ts": "",
      "src/text/merge.ts": "",
      "src/text/lost.ts": "",
      "tests/text/bpe.test.ts": 'import { merge } from "../../src/text/merge.ts";',
      "tests/other/far.test.ts": 'import { lost } from "../../src/text/lost.ts";',
    };
    const none: Rule = (tree) => layout.testedModules(tree, {});
    expect(find(none, files)).toEqual(["src/text/lost.ts"]);
  });

  it("testedModules() finds a reason for a module that is gone", () => {
    const rule: Rule = (tree) => layout.testedModules(tree, { "src/gone.ts": "types only" });
    expect(find(rule, {})).toEqual(["src/gone.ts"]);
  });

  it("unreachableFiles() finds a module that only its test imports", () => {
    const files = {
      "deno.json": '{ "exports": { ".": "./mod.ts" } }',
      "mod.ts": 'export { a } from "./src/a.ts";',
      "src/a.ts": 'new Worker(new URL("./worker.ts", import.meta.url));',
      "src/worker.ts": "",
      "src/dead.ts": "",
      "tests/dead.test.ts": 'import { dead } from "../src/dead.ts";',
      "build.zig": 'b.path("kernels/root.zig"); tool("verify"); b.path("kernels/include")',
      "kernels/root.zig": "",
      "kernels/verify.zig": "",
      "kernels/include/omp.h": "",
      "kernels/dead.zig": "",
    };
    expect(find(layout.unreachableFiles, files)).toEqual(["src/dead.ts", "kernels/dead.zig"]);
  });
});

describe("imports", () => {
  it("importDirection() finds an import that points upward, however it is written", () => {
    const files = {
      "src/graph/a.ts": 'import { b } from "../ggml/b.ts";',
      "src/graph/c.ts": 'const b = await import("../ggml/b.ts");',
      "src/graph/d.ts": 'import type { B } from "../errors.ts"; import { c } from "./c.ts";',
      "src/ggml/b.ts": 'import { d } from "../graph/d.ts"; // from "../server/x.ts"',
    };
    expect(find(imports.importDirection, files)).toEqual(["src/graph/a.ts:1", "src/graph/c.ts:1"]);
  });

  it("importDirection() lets a single file through where the table names one", () => {
    const files = {
      "src/server/a.ts": 'import type { Generator } from "../engine/generator.ts";',
      "src/server/b.ts": '\nimport { Engine } from "../engine/engine.ts";',
    };
    expect(find(imports.importDirection, files)).toEqual(["src/server/b.ts:2"]);
  });

  it("importDirection() wants a row for a new folder", () => {
    expect(find(imports.importDirection, { "src/fresh/a.ts": "" })).toEqual(["src/fresh/a.ts"]);
  });

  it("ALLOWED has no cycle between folders", () => {
    const reaches = (from: string, to: string, seen: readonly string[] = []): boolean =>
      (imports.ALLOWED[from] ?? []).some((next) =>
        next === to || (!seen.includes(next) && reaches(next, to, [...seen, next]))
      );
    const folders = Object.keys(imports.ALLOWED);
    expect(folders.filter((folder) => reaches(folder, folder))).toEqual([]);
  });

  it("importedPackages() keeps node: out of stream and server, and packages in their place", () => {
    const node = 'import { readFile } from "node:fs/promises";';
    const files = {
      "src/stream/a.ts": node,
      "src/server/b.ts": node,
      "src/server/adapters/c.ts": node,
      "src/store/d.ts": node,
      "src/text/e.ts": 'import * as v from "valibot";',
      "src/chat/f.ts": 'import { Template } from "@huggingface/jinja"; import x from "left-pad";',
    };
    const problems = [
      "src/stream/a.ts:1",
      "src/server/b.ts:1",
      "src/text/e.ts:1",
      "src/chat/f.ts:1",
    ];
    expect(find(imports.importedPackages, files)).toEqual(problems);
  });

  it("namedRuntimes() finds Bun and Deno outside of the seam", () => {
    const files = {
      "src/engine/a.ts": "Bun.gc(true); // Deno.exit()",
      "src/engine/b.ts": "globalThis.Deno?.exit();\nDeno.exit();",
      "src/runtime/deno.ts": "Deno.dlopen",
    };
    expect(find(imports.namedRuntimes, files)).toEqual(["src/engine/a.ts:1", "src/engine/b.ts:2"]);
  });

  it("importedFiles() finds an import without its ending", () => {
    const files = { "src/a.ts": 'import "./b.ts";\nimport { b } from "./b";', "src/b.ts": "" };
    expect(find(imports.importedFiles, files)).toEqual(["src/a.ts:2"]);
  });
});

describe("text", () => {
  const body = (lines: number): string => `{\n${"  x;\n".repeat(lines - 2)}}\n`;

  it("fileLengths() counts lines, generated files aside", () => {
    const long = "a;\n".repeat(501);
    const files = { "src/a.ts": long, "src/a.generated.ts": long, "src/b.ts": long.slice(3) };
    expect(find(text.fileLengths, files)).toEqual(["src/a.ts"]);
  });

  it("lineLengths() lets only a string go over", () => {
    const files = {
      "a.ts": `// ${"x".repeat(98)}`,
      "b.ts": `throw new Error("${"x".repeat(98)}")`,
      "c.ts": `const ${"x".repeat(98)} = "";`,
    };
    expect(find(text.lineLengths, files)).toEqual(["a.ts:1", "c.ts:1"]);
  });

  it.each([
    ["a function", `function f(a: { b: number }): Promise<{ c: 1 }> ${body(71)}`],
    ["a function that returns an object type", `function f(): { a: number } ${body(71)}`],
    ["a method", `class A {\n  async #f<T>(a = {}): Promise<T> ${body(71)}}`],
    ["an arrow function", `const f = (a: number) => ${body(71)}`],
    ["a test", `it("x", () => ${body(71)});`],
  ])("functionLengths() measures %s", (_kind, code) => {
    expect(find(text.functionLengths, { "a.ts": code })).toHaveLength(1);
    expect(find(text.functionLengths, { "a.ts": code.replace("  x;\n", "") })).toEqual([]);
  });

  it("functionLengths() measures functions of Zig", () => {
    const code = `pub fn f(a: *const fn (u8) void) callconv(.c) i32 ${body(71)}`;
    expect(find(text.functionLengths, { "a.zig": code })).toEqual(["a.zig:1"]);
    expect(find(text.functionLengths, { "a.zig": code.replace("  x;\n", "") })).toEqual([]);
  });

  it("functionLengths() leaves groups of tests and plain blocks alone", () => {
    const code = `describe("x", () => ${body(99)});\nif (a) ${body(99)}\nconst o = ${body(99)}`;
    expect(find(text.functionLengths, { "a.ts": code })).toEqual([]);
  });

  it("anyTypes() finds the type and not the word", () => {
    const files = {
      "a.ts": "const a: any = b as any[];",
      "b.ts": "// any\nPromise.any([]); expect.any(Number); const many = 1;",
    };
    expect(find(text.anyTypes, files)).toEqual(["a.ts:1", "a.ts:1"]);
  });

  it.each([
    "// TODO later",
    "# FIXME",
    ["https://registry", "npmjs", "org/x"].join("."),
    "/root/x",
    "See issue 12",
  ])(
    "bannedWords() finds %s",
    (line) => {
      expect(find(text.bannedWords, { "README.md": `fine\n${line}` })).toEqual(["README.md:2"]);
    },
  );

  it("focusedTests() finds .only", () => {
    const files = { "tests/a.test.ts": 'it.only("x", () => {});' };
    expect(find(text.focusedTests, files)).toEqual(["tests/a.test.ts:1"]);
  });

  it("skipReasons() wants the need in the name", () => {
    const lines = [
      'it.skipIf(!(await hasRedis()))("resumes after a restart (needs redis)", () => {});',
      'it.skipIf(!(await hasRedis()))("resumes after a restart", () => {});',
      'describe.skip("the other store", () => {});',
      "const text = `it.skip('x', () => {})`;",
    ];
    expect(find(text.skipReasons, { "tests/a.test.ts": lines.join("\n") })).toEqual([
      "tests/a.test.ts:2",
      "tests/a.test.ts:3",
    ]);
  });

  it("moduleComments() wants the contract first", () => {
    const files = {
      "src/a.ts": "/**\n * What it is.\n *\n * @module\n */\nexport {};",
      "src/b.ts": "/** A function. */\nexport function f() {}\n/** @module */",
      "kernels/a.zig": "//! What it is.\n",
      "kernels/b.zig": "const x = 1;\n",
    };
    expect(find(text.moduleComments, files)).toEqual(["src/b.ts", "kernels/b.zig"]);
  });

  it("generatedBanners() wants the command that writes the file", () => {
    const files = {
      "src/a.generated.ts": "// Generated from a.h; do not edit, run `zig build symbols`.",
      "src/b.generated.ts": "export {};",
    };
    expect(find(text.generatedBanners, files)).toEqual(["src/b.generated.ts"]);
  });

  it("snakeCaseNames() keeps foreign names in their folders, counts aside", () => {
    const code = "const max_tokens = n_ctx + MAX_SIZE;";
    const files = { "src/engine/a.ts": code, "src/ggml/a.ts": code };
    expect(find(text.snakeCaseNames, files)).toEqual(["src/engine/a.ts:1"]);
  });
});
