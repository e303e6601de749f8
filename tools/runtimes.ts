/**
 * Which Bun and Deno the tools start: the one that runs, one on PATH, or the pinned one by npx.
 *
 * @module
 */
import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";

/** A runtime that sluice supports. */
export type RuntimeName = "bun" | "deno";

/** Both, in the order in which the tests use them. */
export const RUNTIMES: readonly RuntimeName[] = ["bun", "deno"];

interface Pin {
  /** Version that npx fetches. */
  readonly version: string;
  /** Oldest [major, minor] that is good enough on PATH. */
  readonly floor: readonly [number, number];
  /** Arguments that make it print the path of its own binary. */
  readonly locate: readonly string[];
}

const PINS: Readonly<Record<RuntimeName, Pin>> = {
  bun: { version: "1.4.5", floor: [1, 4], locate: ["-e", "console.log(process.execPath)"] },
  deno: { version: "2.9.6", floor: [2, 9], locate: ["eval", "console.log(Deno.execPath())"] },
};

const execute = promisify(execFile);

/** What a command prints, or undefined where it is missing or fails. */
async function output(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await execute(command, [...args])).stdout.trim();
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

/** Whether the text of `--version` names a version at or above the floor. */
export function reachesFloor(text: string, [major, minor]: readonly [number, number]): boolean {
  const found = /(\d+)\.(\d+)\.\d+/.exec(text);
  if (found === null) return false;
  const [foundMajor, foundMinor] = [Number(found[1]), Number(found[2])];
  return foundMajor > major || (foundMajor === major && foundMinor >= minor);
}

const found = new Map<RuntimeName, Promise<string>>();

/** Path of the runtime's binary, looked for once. Throws when npx cannot bring one either. */
export function runtimePath(name: RuntimeName): Promise<string> {
  const path = found.get(name) ?? find(name);
  found.set(name, path);
  return path;
}

async function find(name: RuntimeName): Promise<string> {
  if (process.versions[name] !== undefined) return process.execPath;
  const { version, floor, locate } = PINS[name];
  if (reachesFloor(await output(name, ["--version"]) ?? "", floor)) return name;
  // Without --prefer-offline npx waits for the registry even when it has the version already.
  const npx = ["--prefer-offline", "-y", "-p", `${name}@${version}`, "--", name, ...locate];
  const path = await output("npx", npx);
  if (path !== undefined) return path;
  throw new Error(
    `Cannot find ${name} ${floor.join(".")} or later: it is not on PATH and npx cannot fetch ` +
      `${name}@${version}, install ${name}`,
  );
}
