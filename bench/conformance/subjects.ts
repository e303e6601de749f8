/**
 * Whom the kit looks at where it is given no URL: sluice on each runtime and llama-server, started
 * here with the same model, each with the settings that its users find.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { SetupError } from "../../src/errors.ts";
import type { RuntimeName } from "../../tools/runtimes.ts";
import { runtimeWords } from "../entrants.ts";
import { HttpContender } from "../http_contender.ts";
import { llamaServer, type Peer } from "../peers.ts";

/** A server that can be started. */
export interface Subject {
  /** Name in the print. */
  readonly name: string;
  /** It is not sluice: what it lacks is no failure of ours. */
  readonly isPeer: boolean;
  /** Starts it and waits until it has loaded its model. */
  start(): Promise<RunningSubject>;
}

/** A server that runs; dispose it to end it. */
export interface RunningSubject extends AsyncDisposable {
  readonly url: string;
}

/** Peers that speak HTTP. */
export const HTTP_PEERS: readonly Peer[] = [llamaServer];

const READY_MS = 60_000;
const LOOK_MS = 20;

/** Starts a program on a free port and waits until its health says that it is ready. */
async function startServer(
  name: string,
  command: (port: number) => readonly string[],
  cwd: string,
): Promise<RunningSubject> {
  let url = "";
  const server = await HttpContender.start(name, (port) => {
    url = `http://127.0.0.1:${port}`;
    return command(port);
  }, cwd);
  const endMs = performance.now() + READY_MS;
  try {
    while (!await isReady(url)) {
      server.processes.expectAlive();
      if (performance.now() > endMs) {
        throw new SetupError(
          `Cannot examine ${name}: it was not ready after ${READY_MS} ms, try another model`,
        );
      }
      await sleep(LOOK_MS);
    }
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return { url, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

async function isReady(url: string): Promise<boolean> {
  const response = await fetch(`${url}/health`).catch((error: Error) => error);
  if (response instanceof Error) return false;
  await response.arrayBuffer();
  return response.ok;
}

/** Sluice with a model on a runtime. */
export function sluiceSubject(runtime: RuntimeName, model: string, root: string): Subject {
  const name = `sluice, ${runtime}`;
  return {
    name,
    isPeer: false,
    async start() {
      const script = [...await runtimeWords(runtime, root), join("src", "cli.ts"), "serve"];
      const options = ["--model", model, "--ctx-size", "2048"];
      return await startServer(name, (port) => [...script, ...options, "--port", `${port}`], root);
    },
  };
}

/**
 * A peer with a model, fetched and built where it is missing.
 *
 * @throws {SetupError} where it cannot be made
 */
export async function peerSubject(
  { name, prepare }: Peer,
  model: string,
  root: string,
  signal: AbortSignal,
): Promise<Subject> {
  const program = await prepare({ root, output: process.stderr, signal });
  const options = ["-m", model, "--host", "127.0.0.1", "-c", "8192", "-np", "4"];
  const start = (): Promise<RunningSubject> =>
    startServer(name, (port) => [program, ...options, "--port", `${port}`], root);
  return { name, isPeer: true, start };
}
