/**
 * Rules on the text of one file: lengths, words, comments, names.
 *
 * Each rule takes the files and returns one sentence for each place, with what to do about it.
 *
 * @module
 */
import { isGenerated, lineAt, type SourceFile } from "./source.ts";

const COLUMNS_MAX = 100;
const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;

const isCode = ({ path }: SourceFile): boolean => /\.(ts|zig)$/.test(path);
const isTypeScript = ({ path }: SourceFile): boolean => path.endsWith(".ts");
const isOurs = (file: SourceFile): boolean => !isGenerated(file);

/** The places where a pattern matches, as `path:line`, with the match. */
function places(file: SourceFile, text: string, pattern: RegExp): [string, RegExpExecArray][] {
  return [...text.matchAll(pattern)].map((match) => [
    `${file.path}:${lineAt(file, match.index)}`,
    match,
  ]);
}

/** No file that needs a table of contents. */
export function fileLengths(files: readonly SourceFile[]): string[] {
  return files.filter(isOurs).filter(isCode).flatMap(({ path, text }) => {
    const lines = text.trimEnd().split("\n").length;
    if (lines <= FILE_LINES_MAX) return [];
    return [`${path}: ${lines} lines, at most ${FILE_LINES_MAX}: give each noun a file of its own`];
  });
}

/** No line over the limit, unless a string that cannot be broken makes it so. */
export function lineLengths(files: readonly SourceFile[]): string[] {
  return files.filter(isOurs).filter(isCode).flatMap((file) => {
    const code = file.code.split("\n");
    return file.text.split("\n").flatMap((line, index) => {
      const columns = [...line].length;
      const withoutStrings = (code[index] ?? "").replace(/(["'`}])\s+(["'`]|\$\{)/g, "$1$2");
      const isComment = /^\s*(\/\/|\/?\*)/.test(line);
      const unbreakable = !isComment && withoutStrings.trimEnd().length <= COLUMNS_MAX &&
        /["'`]/.test(withoutStrings);
      if (columns <= COLUMNS_MAX || unbreakable) return [];
      return [`${file.path}:${index + 1}: ${columns} columns, at most ${COLUMNS_MAX}: break it`];
    });
  });
}

/** Offset after the bracket that closes the one at `open`. */
function closing(code: string, open: number): number {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    if ("([{".includes(code[at]!)) depth++;
    if (")]}".includes(code[at]!) && --depth === 0) return at + 1;
  }
  return code.length;
}

/** Where the body of a function opens whose parameters end at `from`; -1 without one. */
function bodyStart(code: string, from: number): number {
  for (let at = from; at < code.length; at++) {
    const char = code[at]!;
    if (char === ";" || char === ",") return -1;
    if (char === "(" || char === "[") at = closing(code, at) - 1;
    if (char !== "{") continue;
    // After these a brace opens a type, not the body.
    if (!/[:|&<,]\s*$/.test(code.slice(from, at))) return at;
    at = closing(code, at) - 1;
  }
  return -1;
}

const HEADS = new RegExp(
  [
    String.raw`\bfunction\b\s*\*?\s*([\w$]*)`,
    String.raw`=>(?=\s*\{)`,
    // A method: a name at the start of a line, with its list of parameters.
    String
      .raw`^[ \t]+(?:(?:static|async|override|get|set)\s+)*\*?\s*(#?[\w$]+|\[[\w.]+\])(?:<[^>\n]*>)?(?=\()`,
    String.raw`\bfn\s+(\w+)`,
  ].join("|"),
  "gm",
);
const STATEMENTS = /^(if|for|while|switch|catch|return|function|super|await|throw|describe)$/;

/** The functions with a body, with their length in lines. */
export function functions(file: SourceFile): { name: string; line: number; lines: number }[] {
  const found: { name: string; line: number; lines: number }[] = [];
  for (const match of file.code.matchAll(HEADS)) {
    const name = match[1] ?? match[2] ?? match[3] ?? "arrow function";
    const end = match.index + match[0].length;
    const line = file.code.slice(file.code.lastIndexOf("\n", match.index) + 1, end);
    if (STATEMENTS.test(name) || /^\s*describe\b/.test(line)) continue;
    const open = file.code.indexOf(match[0] === "=>" ? "{" : "(", end);
    const body = match[0] === "=>" ? open : bodyStart(file.code, closing(file.code, open));
    if (open < 0 || body < 0) continue;
    const lines = file.code.slice(match.index, closing(file.code, body)).split("\n").length;
    found.push({ name, line: lineAt(file, match.index), lines });
  }
  return found;
}

/** No function that does not fit on a screen. */
export function functionLengths(files: readonly SourceFile[]): string[] {
  const code = files.filter(isOurs).filter(({ path }) => /\.(ts|zig)$/.test(path));
  return code.flatMap((file) =>
    functions(file).filter(({ lines }) => lines > FUNCTION_LINES_MAX).map(({ name, line, lines }) =>
      `${file.path}:${line}: ${name} has ${lines} lines, at most ${FUNCTION_LINES_MAX}: ` +
      "name its parts and make them functions"
    )
  );
}

/** No `any`: what is not known is `unknown`. */
export function anyTypes(files: readonly SourceFile[]): string[] {
  return files.filter(isOurs).filter(isTypeScript).flatMap((file) =>
    places(file, file.code, /(?<![.\w$])any\b(?!\s*[(:])/g).map(([at]) =>
      `${at}: any, write unknown or the type`
    )
  );
}

/** What may not stand in any file, and what to do instead. */
const WORDS: readonly [RegExp, string][] = [
  [/\b(?:TODO|FIXME|XXX|HACK)\b/g, "do it, or file it where work is tracked"],
  [
    /\b(?:npmjs|pypi|pythonhosted|jsr|crates)\.(?:com|io|org)\b/g,
    "name the package, its client knows the registry",
  ],
  [/\/(?:work|root)\/\w+/g, "take the path as an argument"],
  [/\.\.\/shared\/|\bscratch\//g, "name only what is in the repository"],
  [/\b(?:[Ii]ssue|[Tt]ask|PR)s? #?\d+\b|\(#\d+\)/g, "say the reason itself"],
];

/** No leftovers and nothing of the place where the file was written. */
export function bannedWords(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) =>
    WORDS.flatMap(([pattern, advice]) =>
      places(file, file.text, pattern).map(([at, [word]]) => `${at}: "${word}", ${advice}`)
    )
  );
}

/** No test that only one person runs. */
export function focusedTests(files: readonly SourceFile[]): string[] {
  return files.filter(({ path }) => path.endsWith(".test.ts")).flatMap((file) =>
    places(file, file.code, /\b(?:it|test|describe)\.only\b/g).map(([at, [word]]) =>
      `${at}: ${word}, remove .only`
    )
  );
}

/** What may be skipped says in its name what it needs, so that the report gives the reason. */
export function skipReasons(files: readonly SourceFile[]): string[] {
  return files.filter(({ path }) => path.endsWith(".test.ts")).flatMap((file) =>
    places(file, file.code, /\b(?:it|test|describe)\.(skipIf|if|skip|todo)(?=\()/g).flatMap(
      ([at, match]) => {
        const open = match.index + match[0].length;
        const isConditional = match[1] === "skipIf" || match[1] === "if";
        const title = file.text.slice(isConditional ? closing(file.code, open) : open)
          .match(/^\(\s*(["'`])(.*?)\1/s)?.[2] ?? "";
        if (/\bneeds\b/.test(title)) return [];
        return [`${at}: ${match[0]} without a reason, write in its name what it needs`];
      },
    )
  );
}

/** Every module says what it is before it does anything. */
export function moduleComments(files: readonly SourceFile[]): string[] {
  return files.filter(isOurs).flatMap(({ path, text }) => {
    if (/^(src|tools|mod\.ts|examples)/.test(path) && path.endsWith(".ts")) {
      const [head = ""] = /^(?:#!.*\n)?\/\*\*[^]*?\*\//.exec(text) ?? [];
      return head.includes("@module") ? [] : [`${path}: no @module comment, open with one`];
    }
    if (!/^(kernels\/.*\.zig|build\.zig)$/.test(path)) return [];
    return text.startsWith("//!") ? [] : [`${path}: no //! comment, open with one`];
  });
}

/** Generated files say so, and which command writes them. */
export function generatedBanners(files: readonly SourceFile[]): string[] {
  return files.filter(isGenerated).flatMap(({ path, text }) => {
    const head = text.split("\n", 12).join("\n");
    if (/generated/i.test(head) && /\brun\b/i.test(head)) return [];
    return [`${path}: no banner, open with "Generated ... do not edit, run <command>"`];
  });
}

/** Folders where ggml, GGUF, templates and wire formats give the names. */
const FOREIGN = /^src\/(cache|chat|core|ggml|gguf|graph|models|relay|runtime|server)\//;

/** Names with underscores are foreign; what we name is camelCase. Counts, as `n_ctx`, are free. */
export function snakeCaseNames(files: readonly SourceFile[]): string[] {
  const ours = files.filter(isOurs).filter(isTypeScript).filter(({ path }) =>
    /^(src\/|mod\.ts)/.test(path) && !FOREIGN.test(path)
  );
  return ours.flatMap((file) =>
    places(file, file.code, /(?<![\w$])(?!n_)[a-z][a-z0-9]*_[a-z0-9_]+\b/g).map(([at, [name]]) =>
      `${at}: ${name}, write it in camelCase or move it to the folder whose names it uses`
    )
  );
}
