/**
 * A module of the project in a Workers runtime: its types taken off, its imports beside it, and no
 * built-in of Node to be found.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import nodeModule from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, posix, relative } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const arch = process.arch === "x64" ? "64" : process.arch;
const binary = join(
  root,
  `node_modules/@cloudflare/workerd-${process.platform}-${arch}/bin/workerd`,
);

/** Whether there is one for this machine. */
export const hasWorkersRuntime: boolean = existsSync(binary);

/** A Worker that listens. */
export interface RunningWorker {
  readonly url: string;
  /** What it has written to its log. */
  readonly log: () => string;
  stop(): Promise<void>;
}

/** TypeScript as JavaScript, by the runtime that runs. */
function withoutTypes(text: string): string {
  if ("Bun" in globalThis) return new Bun.Transpiler({ loader: "ts" }).transformSync(text);
  const { stripTypeScriptTypes } = nodeModule as unknown as {
    stripTypeScriptTypes(text: string): string;
  };
  return stripTypeScriptTypes(text);
}

const IMPORTS = /\bfrom\s*"([^"]+)"/g;
/** The only packages that the server needs. */
const PACKAGES: Readonly<Record<string, string>> = {
  "@logtape/logtape": "node_modules/@logtape/logtape/dist/mod.js",
  "#util": "node_modules/@logtape/logtape/dist/util.js",
  valibot: "node_modules/valibot/dist/index.mjs",
};

/** The module and all that it imports, by their paths; each is written into `folder`. */
async function copyModules(entry: string, folder: string): Promise<string[]> {
  const paths = [entry];
  for (const path of paths) {
    const text = await readFile(join(root, path), "utf8");
    const code = (path.endsWith(".ts") ? withoutTypes(text) : text).replaceAll(
      IMPORTS,
      (statement, specifier: string) => {
        const target = specifier.startsWith(".")
          ? posix.join(posix.dirname(path), specifier)
          : PACKAGES[specifier];
        // It stays as it is, and the runtime says that there is no such module.
        if (target === undefined) return statement;
        if (!paths.includes(target)) paths.push(target);
        const from = posix.relative(posix.dirname(path), target);
        return `from "${from.startsWith(".") ? from : `./${from}`}"`;
      },
    );
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), code);
  }
  return paths;
}

function configOf(paths: readonly string[], settings: Readonly<Record<string, string>>): string {
  const modules = paths.map((path) =>
    `(name = ${JSON.stringify(path)}, esModule = embed ${JSON.stringify(path)})`
  );
  const bindings = Object.entries(settings).map(([name, value]) =>
    `(name = ${JSON.stringify(name)}, text = ${JSON.stringify(value)})`
  );
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const main :Workerd.Worker = (
  compatibilityDate = "2026-07-01",
  modules = [${modules.join(", ")}],
  bindings = [${bindings.join(", ")}],
);
`;
}

/** Serves the default export of a module on a free port. */
export async function serveWorker(
  entry: string,
  settings: Readonly<Record<string, string>>,
): Promise<RunningWorker> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-worker-"));
  const paths = await copyModules(relative(root, join(root, entry)), folder);
  const config = join(folder, "config.capnp");
  await writeFile(config, configOf(paths, settings));
  const child = spawn(binary, ["serve", "--control-fd=1", config], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (piece) => log += piece);
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
    await rm(folder, { recursive: true });
  };
  for await (const line of createInterface({ input: child.stdout })) {
    const { event, port } = JSON.parse(line) as { event: string; port?: number };
    if (event === "listen") return { url: `http://127.0.0.1:${port}`, log: () => log, stop };
  }
  await stop();
  throw new Error(`The Worker did not start: ${log}`);
}
