/**
 * A server to be killed, in a process of its own.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("./crash_server.ts", import.meta.url));
const offline = fileURLToPath(new URL("../../deno.offline.json", import.meta.url));
const inDeno = ["run", "-A", "--no-check", `--config=${offline}`, program];

/** What a server is started with; see `crash_server.ts`. */
export interface CrashSettings {
  /** 0 is any. */
  port: number;
  store: string;
  tokens: number;
  pauseMs: number;
}

/** A server that runs. */
export class CrashReplica {
  readonly #child: ChildProcess;
  /** Where it listens. */
  readonly port: number;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  /** Starts one, and waits until it listens. */
  static async start({ port, store, tokens, pauseMs }: CrashSettings): Promise<CrashReplica> {
    const args = [...("Deno" in globalThis ? inDeno : [program]), port, store, tokens, pauseMs];
    const child = spawn(process.execPath, args.map(String), {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = await once(child.stdout!, "data") as [Uint8Array];
    return new CrashReplica(child, Number(new TextDecoder().decode(line)));
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** kill -9; resolves when it is gone. */
  async kill(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}
