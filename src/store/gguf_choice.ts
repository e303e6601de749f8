/**
 * Which of a repository's GGUF files is meant.
 *
 * @module
 */
import { ModelError } from "../errors.ts";

/** Quantizations to take where none is named, the best for most machines first. */
const USUAL = ["Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "Q5_K_M", "Q8_0"];
/** Most files that an error lists. */
const LISTED_MAX = 8;
const PART = /-\d{5}-of-\d{5}\.gguf$/i;
/** A projector of images, an importance matrix: no models. */
const COMPANION = /(^|[/._-])(mmproj|imatrix)[._-]/i;

/** Whether a file's name says that it has this quantization. */
function isOf(path: string, quant: string): boolean {
  const escaped = quant.replace(/[^a-z0-9]/gi, (char) => `\\${char}`);
  return new RegExp(`(^|[/._-])${escaped}\\.gguf$`, "i").test(path);
}

/** A quantization such as Q4_K_M, or the path of a file; neither is the usual quantization. */
export interface GgufWish {
  readonly quant?: string | undefined;
  readonly file?: string | undefined;
}

/** The files that a wish can mean; one where it is clear. */
export function matchGgufs(paths: readonly string[], { quant, file }: GgufWish): string[] {
  if (file !== undefined) return paths.filter((path) => path === file);
  const whole = wholeModels(paths);
  if (quant !== undefined) return whole.filter((path) => isOf(path, quant));
  for (const usual of whole.length > 1 ? USUAL : []) {
    const found = whole.filter((path) => isOf(path, usual));
    if (found.length === 1) return found;
  }
  return whole;
}

/** Models in one file each. */
function wholeModels(paths: readonly string[]): string[] {
  return paths.filter((path) => /\.gguf$/i.test(path) && !COMPANION.test(path) && !PART.test(path));
}

/**
 * Chooses one file.
 *
 * @param ref what the user wrote, for the errors
 * @param paths every file of the repository
 * @throws {ModelError} that lists what there is, when it is none or more than one
 */
export function chooseGguf(ref: string, paths: readonly string[], wish: GgufWish): string {
  const [found, ...more] = matchGgufs(paths, wish);
  if (found !== undefined && more.length === 0) return found;
  if (found !== undefined) throw unclear(ref, "it can be several files", [found, ...more]);
  const { quant, file } = wish;
  const lacks = file ?? (quant === undefined ? "GGUF file" : `GGUF file of ${quant}`);
  const parts = paths.some((path) => PART.test(path)) ? " in one part" : "";
  throw unclear(ref, `it has no ${lacks}${parts}`, wholeModels(paths));
}

function unclear(ref: string, what: string, paths: readonly string[]): ModelError {
  const listed = paths.slice(0, LISTED_MAX).join(", ");
  const rest = paths.length > LISTED_MAX ? ` and ${paths.length - LISTED_MAX} more` : "";
  const choose = paths.length === 0
    ? "name a repository of GGUF files"
    : `name one as hf:owner/repo/FILE: ${listed}${rest}`;
  return new ModelError(`Cannot find the model "${ref}": ${what}, ${choose}`);
}
