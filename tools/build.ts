/**
 * `zig build` with the Zig and the caches of the set-up; arguments are those of `zig build`.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { cacheFolder } from "../src/store/cache.ts";
import { checkoutRoot, runMain } from "./setup.ts";
import { zigBuild } from "./setup/zig.ts";

function main(): Promise<number> {
  const root = checkoutRoot();
  const { command, env } = zigBuild({ cache: cacheFolder() }, process.argv.slice(2));
  const [program, ...args] = command as [string, ...string[]];
  const { status, error } = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: "inherit",
  });
  if (error !== undefined) throw error;
  return Promise.resolve(status ?? 1);
}

if (import.meta.main) await runMain(main);
