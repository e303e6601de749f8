/**
 * A server in a process of its own, for tests that abuse it: without a model, with short time-outs
 * where its adapter has any, maybe with few file descriptors.
 *
 * As a program it serves with the adapter that its argument names and prints its port.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createHandler } from "../../src/server/mod.ts";
import { MockGenerator, saying } from "./mock_generator.ts";
import { serveHere, serveOnNode } from "./serve_here.ts";

/** The runtime's own adapter, or that of node:http. */
export type AdapterName = "own" | "node";

/** A server that runs. */
export interface AbusedServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Lets it take all file descriptors that are left, or give them back. */
  hoard(isHoarding: boolean): Promise<void>;
  /** Whether its process has ended, with what it said last. */
  readonly isOver: boolean;
  readonly words: string;
}

const script = fileURLToPath(import.meta.url);
const config = fileURLToPath(new URL("../../deno.offline.json", import.meta.url));

/** Starts one. @param descriptors most file descriptors of its process, default the machine's */
export async function startAbused(name: AdapterName, descriptors?: number): Promise<AbusedServer> {
  const words = [
    process.execPath,
    ...("Deno" in globalThis ? ["run", "-A", "--no-check", "--config", config] : []),
    script,
    name,
  ];
  const limit = descriptors === undefined ? "" : `ulimit -n ${descriptors}; `;
  const child = spawn("sh", ["-c", `${limit}exec "$@"`, "sh", ...words], { stdio: "pipe" });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text) => said = (said + text).slice(-2000));
  const closed = once(child, "close");
  const lines = createInterface({ input: child.stdout });
  const nextLine = (): Promise<string> =>
    Promise.race([
      once(lines, "line").then(([line]) => String(line)),
      closed.then(() => {
        throw new Error(`The server has ended: ${said}`);
      }),
    ]);
  const port = Number(await nextLine());
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    pid: child.pid!,
    async hoard(isHoarding) {
      const said = nextLine();
      child.stdin.write(isHoarding ? "hoard\n" : "release\n");
      await said;
    },
    get isOver() {
      return child.exitCode !== null || child.signalCode !== null;
    },
    get words() {
      return said;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await closed;
    },
  };
}

/** Opens files until there is no descriptor left. */
function hoard(): number[] {
  const files: number[] = [];
  for (;;) {
    try {
      files.push(openSync("/dev/null", "r"));
    } catch (error) {
      if ((error as { code?: unknown }).code === "EMFILE") return files;
      throw error;
    }
  }
}

if (import.meta.main) {
  const serve = process.argv[2] === "node" ? serveOnNode : serveHere;
  const { port } = await serve(createHandler(new MockGenerator(saying("Hello", " world"))));
  process.stdout.write(`${port}\n`);
  let hoarded: number[] = [];
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "hoard") hoarded = hoard();
    else for (const file of hoarded) closeSync(file);
    process.stdout.write(`${line}\n`);
  }
}
