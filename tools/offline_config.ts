/**
 * Writes deno.offline.json: deno.json with @std/http linked to the stand-in beside this file.
 *
 * Deno has no way to extend a configuration, so the copy is made here and a test compares the two.
 * It is for machines where JSR cannot be reached; what is published names the real package.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";

const root = new URL("../", import.meta.url);

/** The text that deno.offline.json must have. */
export async function offlineConfig(): Promise<string> {
  const config = JSON.parse(await readFile(new URL("deno.json", root), "utf8"));
  return `${JSON.stringify({ ...config, links: ["./tools/std_http"] }, null, 2)}\n`;
}

if (import.meta.main) await writeFile(new URL("deno.offline.json", root), await offlineConfig());
