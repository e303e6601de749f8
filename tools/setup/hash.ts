/**
 * SHA-256 of files and of whole folders.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { createReadStream, readdirSync, readFileSync } from "node:fs";
import { relative, sep } from "node:path";
import { join } from "node:path";

/** Hash of some bytes, lower-case hex. */
export function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** Hash of a file that may be large, read in pieces. */
export async function fileHash(
  path: string,
  algorithm: "sha256" | "sha512" = "sha256",
  encoding: "hex" | "base64" = "hex",
): Promise<string> {
  const hash = createHash(algorithm);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest(encoding);
}

/** Paths of all files under a folder, relative with `/`, sorted by code unit. */
export function listFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

/**
 * Hash of a folder: of the text that `sha256sum` prints for its files in sorted order. It depends
 * on names and contents only. By hand, inside the folder:
 * `find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`
 */
export function treeHash(folder: string, files: readonly string[] = listFiles(folder)): string {
  const lines = files.map((file) => `${sha256(readFileSync(join(folder, file)))}  ${file}\n`);
  return sha256(lines.join(""));
}
