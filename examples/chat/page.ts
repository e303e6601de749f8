/**
 * The page's files: its HTML, and its modules as one script, made by the runtime's own bundler.
 *
 * Bun has its bundler inside; Deno fetches esbuild at the first `deno bundle` and keeps it.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** Answers a request for one of the page's files; undefined for any other. */
export type Page = (request: Request) => Response | undefined;

const BUNDLE = "Deno" in globalThis
  ? ["bundle", "--quiet", "--no-check", "--minify", "--platform=browser"]
  : ["build", "--production", "--target=browser"];
const BYTES_MAX = 16 << 20;

/** A module and all that it imports as one script for a browser. */
export async function bundle(entry: URL): Promise<string> {
  const run = promisify(execFile);
  const args = [...BUNDLE, fileURLToPath(entry)];
  // React has checks of its own inside where this says anything else.
  const env = { ...process.env, NODE_ENV: "production" };
  return (await run(process.execPath, args, { env, maxBuffer: BYTES_MAX })).stdout;
}

/** Makes the page ready to be served. */
export async function loadPage(): Promise<Page> {
  const html = await readFile(new URL("index.html", import.meta.url), "utf8");
  const script = await bundle(new URL("chat.ts", import.meta.url));
  const files: Readonly<Record<string, readonly [string, string]>> = {
    "/": [html, "text/html; charset=utf-8"],
    "/chat.js": [script, "text/javascript; charset=utf-8"],
  };
  return ({ url }) => {
    const file = files[new URL(url).pathname];
    return file && new Response(file[0], { headers: { "content-type": file[1] } });
  };
}
