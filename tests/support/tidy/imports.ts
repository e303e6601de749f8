/**
 * Rules on what a module may import and which runtime it may name.
 *
 * @module
 */
import { posix } from "node:path";
import { lineAt, type SourceFile } from "./source.ts";

/**
 * What each part of src may import, itself and errors.ts aside; a path with `.ts` is one file only.
 *
 * From the top down: an import never points upward. The two sides of the engine share its protocol,
 * and whoever makes or takes requests shares the words of the Generator.
 */
export const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  cli: ["load.ts", "server", "stream", "store"],
  "load.ts": ["server", "engine", "stream", "chat", "text", "store", "gguf"],
  server: ["stream", "engine/generator.ts", "engine/steering.ts"],
  relay: ["stream", "engine/generator.ts"],
  stream: [],
  client: [],
  engine: ["stream", "chat", "text", "grammar", "sampling", "store", "gguf", "core/worker.ts"],
  core: [
    "engine/protocol.ts",
    "stream/event.ts",
    ...["cache", "models", "graph", "ggml", "gguf", "grammar", "sampling", "runtime"],
  ],
  chat: ["text", "gguf", "engine/generator.ts"],
  text: ["gguf"],
  grammar: [],
  sampling: [],
  cache: ["ggml", "runtime"],
  models: ["graph"],
  ggml: ["graph", "runtime"],
  graph: [],
  store: [],
  gguf: [],
  runtime: [],
  "errors.ts": [],
};

/** Packages and where each may be imported; src imports no other. */
const PACKAGES: readonly [RegExp, RegExp][] = [
  [/^valibot$/, /^src\/server\//],
  [/^@huggingface\/jinja$/, /^src\/chat\//],
  [/^@logtape\/logtape$/, /^src\/(server\/log\.ts|cli\/log\.ts)$/],
  [/^@opentelemetry\/api$/, /^src\/server\/tracing\.ts$/],
  [/^eventsource-parser$/, /^src\/client\//],
  [/^ioredis$/, /^src\/stream\/stores\/redis\.ts$/],
  [/^@std\/http\//, /^src\/server\/adapters\/deno\.ts$/],
  [/^node:/, /^src\/(?!stream\/(?!stores\/)|relay\/|client\/|server\/(?!adapters\/))/],
  [/^bun:ffi$/, /^src\/runtime\/bun\.ts$/],
];

/** Who may name Bun, Deno or `bun:`. */
const NAMES_RUNTIME = /^src\/((runtime|server\/adapters)\/|cli\.ts$)/;

/** One import of a module. */
interface Import {
  specifier: string;
  line: number;
}

const IMPORTS = /\bfrom\s*(["'])|\bimport\s*\(?\s*(["'])|\bnew URL\(\s*(["'])/g;

/** All imports of a module: static, dynamic, and the files that it names by `new URL()`. */
export function importsOf(file: SourceFile): Import[] {
  return [...file.code.matchAll(IMPORTS)].flatMap((match) => {
    const start = match.index + match[0].length;
    const specifier = file.text.slice(start, file.text.indexOf(match[0].at(-1)!, start));
    const isFile = !match[0].startsWith("new") || /^\.{1,2}\/.*\.ts$/.test(specifier);
    return isFile ? [{ specifier, line: lineAt(file, match.index) }] : [];
  });
}

/** Path of the file that a relative specifier names. */
export function resolve(path: string, specifier: string): string {
  return posix.join(posix.dirname(path), specifier);
}

const part = (path: string): string => path.split("/")[1] ?? "";
const isModule = ({ path }: SourceFile): boolean => path.startsWith("src/") && path.endsWith(".ts");

/** Imports point downward. */
export function importDirection(files: readonly SourceFile[]): string[] {
  return files.filter(isModule).filter(({ path }) => path !== "src/cli.ts").flatMap((file) => {
    const from = part(file.path);
    const allowed = ALLOWED[from];
    if (allowed === undefined) {
      return [`${file.path}: no rule says what src/${from} may import, add it to ALLOWED`];
    }
    return importsOf(file).flatMap(({ specifier, line }) => {
      if (!specifier.startsWith(".")) return [];
      const target = resolve(file.path, specifier);
      const inside = target.replace(/^src\//, "");
      const free = [from, "errors.ts", ...allowed].some((name) =>
        inside === name || inside.startsWith(`${name}/`)
      );
      if (free && target.startsWith("src/")) return [];
      return [
        `${file.path}:${line}: src/${from} imports ${target}, but may import only ` +
        `${["errors.ts", ...allowed].join(", ")}: move what it needs down, or pass it in`,
      ];
    });
  });
}

/** Packages and built-ins are imported only where the table says. */
export function importedPackages(files: readonly SourceFile[]): string[] {
  return files.filter(isModule).flatMap((file) =>
    importsOf(file).flatMap(({ specifier, line }) => {
      if (specifier.startsWith(".")) return [];
      const row = PACKAGES.find(([name]) => name.test(specifier));
      if (row?.[1].test(file.path)) return [];
      return [
        `${file.path}:${line}: imports ${specifier}, ` +
        (row === undefined ? "write it ourselves or add it to PACKAGES" : "pass in what it gives"),
      ];
    })
  );
}

/** Only the seam and the entries know which runtime runs. */
export function namedRuntimes(files: readonly SourceFile[]): string[] {
  return files.filter(({ path }) => /^(src\/|mod\.ts)/.test(path) && !NAMES_RUNTIME.test(path))
    .flatMap((file) =>
      [...file.code.matchAll(/(?<![.\w$])(?:Bun|Deno)\b(?=\s*[.[?!])/g)].map((match) =>
        `${file.path}:${lineAt(file, match.index)}: names ${match[0]}, ` +
        "use src/runtime, a Web standard or a node: built-in"
      )
    );
}

/** Relative imports name the file with its ending, and none leaves the project; data aside. */
export function importedFiles(files: readonly SourceFile[]): string[] {
  const known = new Set(files.map(({ path }) => path));
  return files.filter(({ path }) => path.endsWith(".ts")).flatMap((file) =>
    importsOf(file).flatMap(({ specifier, line }) => {
      if (!specifier.startsWith(".") || specifier.endsWith(".json")) return [];
      if (known.has(resolve(file.path, specifier))) return [];
      return [`${file.path}:${line}: imports ${specifier}, which is no file: name it with .ts`];
    })
  );
}
