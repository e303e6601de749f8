/**
 * The npm packages that `bun.lock` pins, installed by the runtime that runs.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { run } from "./command.ts";
import { sha256 } from "./hash.ts";
import { runtimeName } from "./platform.ts";
import { folderBytes, watchGrowth } from "./progress.ts";
import type { Site, Step } from "./step.ts";

/** Written last, so an interrupted installation is done again. */
const stampPath = (site: Pick<Site, "root">): string => join(site.root, "node_modules", ".sluice");

/** Installs `node_modules`. */
export const packages: Step = {
  name: "packages",
  brings: "the npm packages",
  fetchBytes: 76_000_000,
  diskBytes: 350_000_000,
  memoryBytes: 0,
  after: [],
  ready(site) {
    const stamp = stampPath(site);
    return existsSync(stamp) && readFileSync(stamp, "utf8") === pins(site);
  },
  missing: () => Promise.resolve([]),
  async run(site, bar) {
    bar.phase("installing");
    using _ = watchGrowth(() => folderBytes(join(site.root, "node_modules")), bar);
    await run([process.execPath, ...installArguments()], {
      purpose: "install the npm packages",
      cwd: site.root,
      signal: site.signal,
      log: join(site.cache, "logs", "packages.log"),
      advice: "check the network and the registry settings",
    });
    mkdirSync(join(site.root, "node_modules"), { recursive: true });
    writeFileSync(stampPath(site), pins(site));
  },
};

/** Deno installs what package.json names when it looks at any module; `deno install` wants JSR. */
function installArguments(): string[] {
  return runtimeName() === "bun"
    ? ["install", "--frozen-lockfile", "--no-progress"]
    : ["cache", "--node-modules-dir=auto", join("tools", "setup.ts")];
}

/** Names the set of packages: what the manifest asks for and what the lock file answers. */
function pins(site: Pick<Site, "root">): string {
  const text = readFileSync(join(site.root, "package.json"), "utf8");
  const { dependencies, devDependencies } = JSON.parse(text) as Record<string, unknown>;
  const lock = readFileSync(join(site.root, "bun.lock"), "utf8");
  return sha256(JSON.stringify([dependencies, devDependencies, lock]));
}
