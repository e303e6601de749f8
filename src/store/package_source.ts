/**
 * The package that the set-up takes the default model from, fetched by the set-up itself.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { DownloadError } from "./download_error.ts";

/** How much of what the set-up says is kept for an error. */
const TAIL_CHARS = 4096;

/**
 * Runs the set-up's step for models. It has its own lock, its own check of the hash and, where
 * this program's standard error is a terminal, its own bar.
 *
 * @throws {DownloadError} where there is no checkout or the set-up fails
 */
export function setUpModel(purpose: string, signal: AbortSignal): Promise<void> {
  const tools = new URL("../../tools/", import.meta.url);
  const setup = tools.protocol === "file:" ? join(fileURLToPath(tools), "setup.ts") : "";
  if (!existsSync(setup)) {
    throw new DownloadError(
      `Cannot ${purpose}: it comes with the set-up of a checkout, which this is not; name a file ` +
        "or a model of the hub as hf:owner/repo",
    );
  }
  const flags = process.versions.deno === undefined ? [] : ["run", "-A"];
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const { isTTY } = process.stderr;
    const child = spawn(process.execPath, [...flags, setup, "--only", "model"], {
      stdio: ["ignore", "ignore", isTTY ? "inherit" : "pipe"],
    });
    let tail = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-TAIL_CHARS);
    });
    const stop = (): void => void child.kill("SIGTERM");
    signal.addEventListener("abort", stop, { once: true });
    child.on("error", reject);
    child.on("close", (code) => {
      signal.removeEventListener("abort", stop);
      if (signal.aborted) return reject(signal.reason);
      if (code === 0) return resolve();
      const last = tail.trim().split("\n").at(-1) ?? "";
      reject(
        new DownloadError(`Cannot ${purpose}: the set-up failed, run bun run setup to see why`, {
          cause: new Error(last),
        }),
      );
    });
  });
}
