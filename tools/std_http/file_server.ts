/**
 * Stand-in for `@std/http/file-server`: plain files below one folder, nothing else.
 *
 * @module
 */
import { open, realpath } from "node:fs/promises";
import { extname, join, sep } from "node:path";

const CONTENT_TYPES: Record<string, string> = {
  ".css": "text/css; charset=UTF-8",
  ".html": "text/html; charset=UTF-8",
  ".js": "text/javascript; charset=UTF-8",
  ".json": "application/json; charset=UTF-8",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=UTF-8",
};

/** What of the real options is understood here. */
export interface ServeDirOptions {
  /** The folder. Default: the working folder. */
  fsRoot?: string;
  /** Part of the path that is no folder, without slashes at its ends. */
  urlRoot?: string;
  /** No line for each request. */
  quiet?: boolean;
}

/** The real path of the file that the URL asks for, or undefined when it lies outside of `root`. */
async function locate(url: string, root: string, urlRoot: string): Promise<string | undefined> {
  const path = decodeURIComponent(new URL(url).pathname);
  const prefix = urlRoot === "" ? "" : `/${urlRoot}`;
  if (path.includes("\0") || !`${path}/`.startsWith(`${prefix}/`)) return undefined;
  const top = await realpath(root);
  const inside = path.slice(prefix.length);
  const file = await realpath(join(top, inside.endsWith("/") ? `${inside}index.html` : inside));
  return file.startsWith(top + sep) ? file : undefined;
}

/** Answers with a file below `fsRoot`; 404 for what is missing or, through links too, outside. */
export async function serveDir(
  request: Request,
  { fsRoot = ".", urlRoot = "" }: ServeDirOptions = {},
): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("Method Not Allowed", { status: 405, headers: { allow: "GET, HEAD" } });
  }
  try {
    const path = await locate(request.url, fsRoot, urlRoot);
    if (path === undefined) return new Response("Not Found", { status: 404 });
    await using file = await open(path);
    const bytes = new Uint8Array(await file.readFile());
    const type = CONTENT_TYPES[extname(path)] ?? "application/octet-stream";
    const headers = { "content-type": type, "content-length": String(bytes.length) };
    return new Response(request.method === "HEAD" ? null : bytes, { headers });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const absent = code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
    if (absent || error instanceof URIError) return new Response("Not Found", { status: 404 });
    throw error;
  }
}
