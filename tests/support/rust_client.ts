/**
 * The Rust client of a document: built by cargo from its fixture, once for both runtimes, and run.
 *
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "../../src/store/cache.ts";
import { reachesFloor } from "../../tools/runtimes.ts";

const project = fileURLToPath(new URL("../http/fixtures/rust_client/", import.meta.url));

/** With rustup's own folder: its installer puts it on the PATH of new shells only. */
const env = {
  ...process.env,
  PATH: [process.env.PATH, join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "bin")].join(
    delimiter,
  ),
};

const rustc: string = spawnSync("rustc", ["--version", "--verbose"], { env, encoding: "utf8" })
  .stdout ?? "";
const cargo: string = spawnSync("cargo", ["--version"], { env, encoding: "utf8" }).stdout ?? "";

/** There is a Rust that can build it, with a linker. */
export const HAS_RUST: boolean = reachesFloor(rustc, [1, 82]) && reachesFloor(cargo, [1, 82]) &&
  spawnSync("cc", ["--version"]).status === 0;

/** Everything that the built programs depend on, as a name of a folder. */
function buildKey(): string {
  const hash = createHash("sha256").update(rustc);
  const files = ["Cargo.toml", "Cargo.lock"];
  for (const file of files) hash.update(readFileSync(join(project, file)));
  return hash.digest("hex").slice(0, 16);
}

/** Builds it where that was not done yet, and gives the folder of its programs. */
export async function buildRustClient(): Promise<string> {
  const target = join(cacheFolder(), "rust", buildKey());
  const child = spawn("cargo", ["build", "--locked"], {
    cwd: project,
    env: { ...env, CARGO_TARGET_DIR: target },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  child.stderr.on("data", (text: Uint8Array) => output += new TextDecoder().decode(text));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const programs = join(target, "debug");
  if (code === 0 && existsSync(join(programs, "printed"))) return programs;
  throw new Error(`Cannot build the Rust client, cargo said:\n${output}`);
}

/** A program that runs. */
export class RustProgram implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  /** What it wrote to its standard output, line by line. */
  readonly lines: AsyncIterator<string>;
  /** What it wrote to its standard error. */
  readonly errors: AsyncIterator<string>;

  /**
   * Starts it.
   *
   * @param server where the printed client finds its server
   */
  constructor(program: string, args: readonly string[], server = "") {
    const child = spawn(program, [...args], {
      env: { ...env, SERVER: server },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.#closed = new Promise((resolve) => child.once("close", () => resolve()));
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.errors = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
  }

  /** The lines that it writes until it ends by itself. */
  async rest(): Promise<string[]> {
    return await Array.fromAsync({ [Symbol.asyncIterator]: () => this.lines });
  }

  /** Ends it where it runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
  }
}
