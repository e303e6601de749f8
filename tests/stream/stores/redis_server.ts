/**
 * RedisServer: a redis-server of a test, on a free port, that can be stopped, paused and emptied.
 *
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** There is a redis-server on this machine. */
export const HAS_REDIS: boolean = spawnSync("redis-server", ["--version"]).status === 0;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** A server whose data is in a folder of its own. */
export class RedisServer implements AsyncDisposable {
  readonly #port: number;
  readonly #folder = mkdtempSync(join(tmpdir(), "sluice-redis-"));
  #process: ChildProcess | undefined;

  private constructor(port: number) {
    this.#port = port;
  }

  /** A server that runs. */
  static async start(): Promise<RedisServer> {
    const server = new RedisServer(await freePort());
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  /** Starts it again, with what it had written. */
  async start(): Promise<void> {
    const values = ["--port", String(this.#port), "--bind", "127.0.0.1", "--dir", this.#folder];
    const child = spawn("redis-server", [...values, "--appendonly", "yes", "--save", ""], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    let log = "";
    for await (const text of child.stdout) {
      log += text;
      if (!log.includes("Ready to accept connections")) continue;
      return;
    }
    throw new Error(`redis-server did not start: ${log}`);
  }

  /** Kills it. */
  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined) return;
    const gone = once(child, "exit");
    this.#signal(child, "SIGKILL");
    await gone;
  }

  /** It accepts connections and answers nothing. */
  pause(): void {
    this.#signal(this.#process!, "SIGSTOP");
  }

  /** It goes on after a pause, with all that was sent to it. */
  resume(): void {
    this.#signal(this.#process!, "SIGCONT");
  }

  /** Deno's ChildProcess.kill() does nothing after the first signal. */
  #signal(child: ChildProcess, signal: NodeJS.Signals): void {
    process.kill(child.pid!, signal);
  }

  /** The reply to one command, as text. */
  async ask(command: string): Promise<string> {
    const socket = connect(this.#port, "127.0.0.1");
    socket.write(`${command}\r\nQUIT\r\n`);
    let reply = "";
    for await (const bytes of socket) reply += bytes;
    return reply.replace(/\+OK\r\n$/, "").trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
