/**
 * The project's own text files, and their code without comments and strings.
 *
 * Knows how TypeScript, Zig and C write comments and strings, and nothing of any rule.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** One file of the project. */
export interface SourceFile {
  /** Path from the root of the project, with slashes. */
  path: string;
  text: string;
  /** `text` with comments and the contents of strings as spaces; same length, same lines. */
  code: string;
}

const SKIPPED = new Set([".git", ".zig-cache", "node_modules", "zig-out", "kernels/ggml"]);
const DATA = /(^|\/)(golden|fixtures)\//;
const TEXT = /(\.(ts|json|zig|zon|c|h|map|md|yml|sh|txt|lock)|LICENSE|\.ci\/run|\.gitignore)$/;

/** A file as the rules see it. */
export function source(path: string, text: string): SourceFile {
  const language = /\.(ts|js)$/.test(path) ? "typescript" : path.endsWith(".zig") ? "zig" : "c";
  return { path, text, code: /\.(ts|zig|c|h)$/.test(path) ? blank(text, language) : text };
}

/** Whether a tool wrote the file. */
export function isGenerated({ path }: SourceFile): boolean {
  return path.includes(".generated.");
}

/** Number of the line, from 1, at an offset of the text. */
export function lineAt({ text }: SourceFile, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

/** All text files of the project, sorted; what git ignores, golden figures and fixtures aside. */
export async function readTree(root: string, folder = ""): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (SKIPPED.has(path)) continue;
    if (entry.isDirectory()) files.push(...await readTree(root, path));
    else if (TEXT.test(path) && !DATA.test(path)) {
      files.push(source(path, await readFile(join(root, path), "utf8")));
    }
  }
  return files;
}

const SPACES = /[^\n]/g;
// Longest first where one begins as another does.
const TOKENS = {
  typescript: /\/\/.*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[`{}]|\//g,
  zig: /\/\/.*|\\\\.*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g,
  c: /\/\/.*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g,
};
const TEMPLATE = /\\.|\$\{|`/gs;
const REGEX = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/y;
/** What stands before a slash that opens a regular expression and does not divide. */
const BEFORE_REGEX =
  /(?:^|[(,=:[!&|?{};+\-*%~^<>\n]|\b(?:return|typeof|case|of|in|yield|await))\s*$/;

/** Spaces in the place of comments and of the contents of strings, templates and patterns. */
export function blank(text: string, language: keyof typeof TOKENS): string {
  let code = "";
  let from = 0;
  /** Depth of braces at which each open template goes on. */
  const templates: number[] = [];
  let depth = 0;
  const keep = (to: number): void => {
    code += text.slice(from, to);
    from = to;
  };
  const hide = (to: number): void => {
    code += text.slice(from, to).replace(SPACES, " ");
    from = to;
  };
  const readTemplate = (): void => {
    TEMPLATE.lastIndex = from;
    let match = TEMPLATE.exec(text);
    while (match !== null && match[0].startsWith("\\")) match = TEMPLATE.exec(text);
    hide(match?.index ?? text.length);
    keep(from + (match?.[0].length ?? 0));
    if (match?.[0] === "${") templates.push(depth++);
  };
  const tokens = new RegExp(TOKENS[language]);
  for (;;) {
    tokens.lastIndex = from;
    const match = tokens.exec(text);
    keep(match?.index ?? text.length);
    if (match === null) return code;
    const [token] = match;
    if (token === "{") depth++;
    if (token === "}") depth--;
    if (token === "`" || (token === "}" && templates.at(-1) === depth)) {
      if (token === "}") templates.pop();
      keep(from + 1);
      readTemplate();
    } else if (token === "/") {
      REGEX.lastIndex = from;
      const pattern = BEFORE_REGEX.test(code.trimEnd().slice(-12))
        ? REGEX.exec(text)?.[0].length ?? 1
        : 1;
      if (pattern > 1) hide(from + pattern);
      else keep(from + 1);
    } else if (token.length === 1) {
      keep(from + 1);
    } else if (/^(\/\/|\/\*|\\\\)/.test(token)) {
      hide(from + token.length);
    } else {
      keep(from + 1);
      hide(from + token.length - 2);
      keep(from + 1);
    }
  }
}
