/**
 * Where sluice keeps what it fetched and built. Knows folders only: reads and writes nothing.
 *
 * @module
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";

/**
 * The cache folder: `SLUICE_CACHE`, else `$XDG_CACHE_HOME/sluice`, else the platform's own place
 * (`~/.cache/sluice`, on macOS `~/Library/Caches/sluice`). Absolute; it may not exist yet.
 */
export function cacheFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  if (env.SLUICE_CACHE) return resolve(env.SLUICE_CACHE);
  if (env.XDG_CACHE_HOME) return resolve(env.XDG_CACHE_HOME, "sluice");
  const home = env.HOME || homedir();
  return process.platform === "darwin"
    ? join(home, "Library", "Caches", "sluice")
    : join(home, ".cache", "sluice");
}

/** The folder of model files in the cache. */
export function modelsFolder(cache: string = cacheFolder()): string {
  return join(cache, "models");
}

/**
 * The folder that Hugging Face's tools share: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else
 * `huggingface/hub` in `$XDG_CACHE_HOME` or `~/.cache`. Absolute; it may not exist yet.
 */
export function hubFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  return env.HF_HUB_CACHE ? resolve(env.HF_HUB_CACHE) : join(hubHome(env), "hub");
}

/** The folder of Hugging Face's tools, where their token lies too. Absolute. */
export function hubHome(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  if (env.HF_HOME) return resolve(env.HF_HOME);
  return resolve(env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache"), "huggingface");
}
