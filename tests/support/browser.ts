/**
 * Chromium and what its pages are served: the example's own files, or any script made for the test.
 *
 * @module
 */
import { type Browser, chromium } from "playwright-core";
import { existsSync } from "node:fs";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { bundle, type Page } from "../../examples/chat/page.ts";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler, type Handler, type HandlerOptions } from "../../src/server/handler.ts";
import { MockGenerator, type Script } from "./mock_generator.ts";
import { serveHere } from "./serve_here.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const folders = (process.env["PATH"] ?? "").split(delimiter);

/** Chromium on the PATH; undefined where there is none. */
export const CHROMIUM: string | undefined = folders
  .flatMap((folder) => NAMES.map((name) => join(folder, name))).find(existsSync);

/** Starts Chromium without a window. */
export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
}

/**
 * Makes a page by the bundler; undefined where nothing could show it, or Deno has no bundler yet
 * and cannot fetch it.
 */
export async function bundled<T>(make: () => Promise<T>): Promise<T | undefined> {
  if (CHROMIUM === undefined) return undefined;
  try {
    return await make();
  } catch (thrown) {
    if (/Failed loading .*@esbuild/.test(String((thrown as { stderr?: unknown }).stderr))) {
      return undefined;
    }
    throw thrown;
  }
}

/** TypeScript with JSX that no file has, as a script for a browser; it may import React. */
export async function bundleText(text: string): Promise<string> {
  const root = new URL("../../", import.meta.url);
  const folder = await mkdtemp(join(tmpdir(), "sluice-page-"));
  try {
    for (const name of ["node_modules", "package.json"]) {
      await symlink(fileURLToPath(new URL(name, root)), join(folder, name));
    }
    await writeFile(join(folder, "deno.json"), JSON.stringify({ nodeModulesDir: "manual" }));
    const entry = join(folder, "page.tsx");
    await writeFile(entry, text);
    return await bundle(pathToFileURL(entry));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A page of nothing but one script. */
export function pageOf(script: string): Page {
  const html = '<!doctype html><link rel="icon" href="data:,"><div id="root"></div>' +
    '<script type="module" src="page.js"></script>';
  return ({ url }) => {
    const { pathname } = new URL(url);
    if (pathname === "/page.js") {
      return new Response(script, { headers: { "content-type": "text/javascript" } });
    }
    if (pathname !== "/") return undefined;
    return new Response(html, { headers: { "content-type": "text/html" } });
  };
}

/** A request that reached the handler, and what became of it. */
export interface Visit {
  readonly method: string;
  readonly path: string;
  readonly lastEventId: string | null;
  readonly status: number;
}

/** A page and a generator behind one port. */
export class Site implements AsyncDisposable {
  readonly mock: MockGenerator;
  /** What was asked of the handler, in the order of the answers. */
  readonly visits: Visit[] = [];
  readonly #handler: Handler;
  #server: RunningServer | undefined;

  private constructor(script: Script, options: HandlerOptions) {
    this.mock = new MockGenerator(script);
    this.#handler = createHandler(this.mock, { onError: () => undefined, ...options });
  }

  /** Listens; on a free port where none is given. */
  static async open(
    page: Page,
    script: Script,
    options: HandlerOptions & { port?: number } = {},
  ): Promise<Site> {
    const { port = 0, ...others } = options;
    const site = new Site(script, others);
    const answer = async (request: Request): Promise<Response> => {
      const response = page(request);
      if (response !== undefined) return response;
      const { method, headers, url } = request;
      const answered = await site.#handler(request);
      const path = new URL(url).pathname;
      const lastEventId = headers.get("last-event-id");
      site.visits.push({ method, path, lastEventId, status: answered.status });
      return answered;
    };
    site.#server = await serveHere(Object.assign(answer, site.#handler), port);
    return site;
  }

  get url(): string {
    return this.#server!.url;
  }

  get port(): number {
    return this.#server!.port;
  }

  /** Stops to listen and to generate. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server!.stop();
  }
}
