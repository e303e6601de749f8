/**
 * A server in a process of its own that says a token only when the test lets it.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("./gated_server.ts", import.meta.url));
const offline = fileURLToPath(new URL("../../deno.offline.json", import.meta.url));
const inDeno = ["run", "-A", "--no-check", `--config=${offline}`, program];

/** What a server is started with. */
export interface GatedSettings {
  /** As the command line takes it. */
  readonly store: string;
  /** Tokens of every stream. */
  readonly tokens: number;
  readonly keepAliveMs: number;
  readonly streamsMax: number;
  /** Host names beside the local ones. */
  readonly hosts: readonly string[];
}

/** What a server says of itself. */
export interface GatedState {
  readonly port: number;
  /** The last token that it made. */
  readonly made: number;
  /** Generations that run. */
  readonly active: number;
  readonly readers: number;
}

const DEFAULTS: GatedSettings = {
  store: "memory",
  tokens: 20,
  keepAliveMs: 5000,
  streamsMax: 64,
  hosts: [],
};

/** A server that runs. */
export class GatedReplica {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  /** Where it listens on 127.0.0.1. */
  readonly port: number;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, port: number) {
    this.#child = child;
    this.#lines = lines;
    this.port = port;
  }

  /** Starts one, and waits until it listens. */
  static async start(settings: Partial<GatedSettings> = {}): Promise<GatedReplica> {
    const args = [...("Deno" in globalThis ? inDeno : [program])];
    const child = spawn(process.execPath, [...args, JSON.stringify({ ...DEFAULTS, ...settings })], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
    const { port } = await stateOf(lines);
    return new GatedReplica(child, lines, port);
  }

  /** As nginx writes it. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Lets token `seq` and all before it pass. */
  open(seq: number): Promise<GatedState> {
    return this.#ask(`open ${seq}`);
  }

  /** Waits until it generates nothing. */
  idle(): Promise<GatedState> {
    return this.#ask("idle");
  }

  state(): Promise<GatedState> {
    return this.#ask("state");
  }

  /** Ends it as its command line does on SIGTERM, without a grace; resolves when it is gone. */
  stop(): Promise<void> {
    return this.#ended(() => this.#child.stdin!.write("stop\n"));
  }

  /** kill -9; resolves when it is gone. */
  kill(): Promise<void> {
    return this.#ended(() => process.kill(this.pid, "SIGKILL"));
  }

  async #ended(end: () => void): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    const exited = once(this.#child, "exit");
    end();
    await exited;
  }

  async #ask(command: string): Promise<GatedState> {
    this.#child.stdin!.write(`${command}\n`);
    return await stateOf(this.#lines);
  }
}

async function stateOf(lines: AsyncIterator<string>): Promise<GatedState> {
  const { value, done } = await lines.next();
  if (done) throw new Error("The server has gone");
  return JSON.parse(value) as GatedState;
}
