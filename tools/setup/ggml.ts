/**
 * The ggml sources, vendored by pin: out of the git bundle in an npm package, checked against
 * `kernels/ggml.lock.json`, kept in the cache and laid at `kernels/ggml/`.
 *
 * @module
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { SetupError } from "../../src/errors.ts";
import { onPath, run } from "./command.ts";
import { fileHash, treeHash } from "./hash.ts";
import { runtimeName } from "./platform.ts";
import { type Bar, folderBytes, watchGrowth } from "./progress.ts";
import type { Site, Step } from "./step.ts";
import { untar } from "./tar.ts";

/** What `kernels/ggml.lock.json` says. */
export interface GgmlLock {
  /** ggml's own version. */
  readonly version: string;
  /** npm package that carries the sources. */
  readonly package: string;
  readonly packageVersion: string;
  /** Hash of the package's tarball as npm writes it. */
  readonly integrity: string;
  /** The git bundle, inside the package. */
  readonly bundle: string;
  /** What of the repository is laid, as git pathspecs. */
  readonly paths: readonly string[];
  /** Hash of the laid tree; see `treeHash()`. */
  readonly sha256: string;
  readonly licence: string;
}

/** npm's own client, for machines where only Bun or only Deno is. */
const npmPackage = "npm@11.19.1";
const packBytes = 35_735_663;

const laidFolder = (site: Pick<Site, "root">): string => join(site.root, "kernels", "ggml");

/** Path of the lock file. */
export function lockPath(root: string): string {
  return join(root, "kernels", "ggml.lock.json");
}

/** Reads the lock file. */
export function readLock(root: string): GgmlLock {
  return JSON.parse(readFileSync(lockPath(root), "utf8")) as GgmlLock;
}

/** Fetches the ggml sources and lays them. */
export const ggml: Step = {
  name: "ggml",
  brings: "the ggml sources",
  fetchBytes: packBytes,
  diskBytes: 200_000_000,
  memoryBytes: 0,
  after: [],
  ready(site) {
    const { sha256 } = readLock(site.root);
    const laid = laidFolder(site);
    if (existsSync(laid) && treeHash(laid) === sha256) return true;
    const kept = join(site.cache, "ggml", sha256);
    if (!existsSync(kept) || treeHash(kept) !== sha256) return false;
    layTree(site, kept);
    return true;
  },
  missing: () =>
    Promise.resolve(onPath("git") === undefined ? ["git, to unpack the ggml sources"] : []),
  async run(site, bar) {
    const lock = readLock(site.root);
    const pack = await fetchPack(site, lock, bar);
    await checkIntegrity(pack, lock);
    const tree = await unpackTree(site, pack, lock, bar);
    const hash = treeHash(tree);
    if (hash !== lock.sha256) {
      throw new SetupError(
        `Cannot lay ggml ${lock.version}: the sha256 of its tree is ${hash}, expected ` +
          `${lock.sha256}; check the package mirror, or kernels/ggml.lock.json`,
      );
    }
    const kept = join(site.cache, "ggml", hash);
    mkdirSync(dirname(kept), { recursive: true });
    rmSync(kept, { recursive: true, force: true });
    renameSync(tree, kept);
    layTree(site, kept);
  },
};

/** Words that start npm: itself, or through the runtime that runs, which fetches it first. */
function npmCommand(): readonly string[] {
  const npm = onPath("npm");
  if (npm !== undefined) return [npm];
  return runtimeName() === "bun"
    ? [process.execPath, "x", "--bun", npmPackage]
    : [process.execPath, "run", "-A", "--no-config", "--no-lock", `npm:${npmPackage}`];
}

/** Downloads the package's tarball; no script of it runs and nothing of it is installed. */
export async function fetchPack(
  site: Site,
  lock: Pick<GgmlLock, "package" | "packageVersion">,
  bar: Bar,
): Promise<string> {
  const folder = join(site.temp, "pack");
  const npmCache = join(site.temp, "npm");
  mkdirSync(folder, { recursive: true });
  bar.phase("fetching", packBytes);
  using _ = watchGrowth(() => folderBytes(npmCache), bar);
  const name = `${lock.package}@${lock.packageVersion}`;
  const options = ["--ignore-scripts", "--pack-destination", folder, "--cache", npmCache];
  await run([...npmCommand(), "pack", name, ...options], {
    purpose: `fetch ${name}`,
    cwd: folder,
    signal: site.signal,
    log: join(site.cache, "logs", "ggml.log"),
    advice: "check the network and npm's settings",
  });
  const file = readdirSync(folder).find((entry) => entry.endsWith(".tgz"));
  if (file === undefined) {
    throw new SetupError(`Cannot fetch ${name}: npm left no tarball in ${folder}`);
  }
  return join(folder, file);
}

/** Hash of a tarball in npm's own notation. */
export async function integrityOf(pack: string): Promise<string> {
  return `sha512-${await fileHash(pack, "sha512", "base64")}`;
}

async function checkIntegrity(pack: string, lock: GgmlLock): Promise<void> {
  const integrity = await integrityOf(pack);
  if (integrity === lock.integrity) return;
  throw new SetupError(
    `Cannot use ${lock.package}@${lock.packageVersion}: its hash is ${integrity}, ` +
      `expected ${lock.integrity}; check the package mirror`,
  );
}

/** Takes the wanted part of the sources out of the package: tarball, bundle, repository, tree. */
export async function unpackTree(
  site: Site,
  pack: string,
  lock: Pick<GgmlLock, "bundle" | "paths">,
  bar: Bar,
): Promise<string> {
  bar.phase("unpacking");
  const bundle = join(site.temp, "ggml.bundle");
  const repository = join(site.temp, "ggml.git");
  const archive = join(site.temp, "ggml.tar");
  const tree = join(site.temp, "ggml");
  await untar(pack, site.temp, {
    place: (name) => name === `package/${lock.bundle}` ? "ggml.bundle" : undefined,
    onBytes: bar.set,
    signal: site.signal,
  });
  await git(site, ["clone", "--quiet", "--bare", bundle, repository]);
  const output = ["archive", "--format=tar", "--output", archive, "HEAD"];
  await git(site, ["--git-dir", repository, ...output, "--", ...lock.paths]);
  await untar(archive, tree, {
    place: (name) => name.replace(/^ggml\//, ""),
    signal: site.signal,
  });
  for (const path of [pack, bundle, archive, repository]) rmSync(path, { recursive: true });
  return tree;
}

/** Runs git with no setting but ours, so that line ends and hooks are the same everywhere. */
async function git(site: Site, args: readonly string[]): Promise<void> {
  const program = onPath("git");
  if (program === undefined) throw new SetupError("Cannot unpack the ggml sources: install git");
  const inherited = Object.keys(process.env).filter((name) => name.startsWith("GIT_"));
  await run([program, "-c", "core.autocrlf=false", ...args], {
    purpose: "unpack the ggml sources",
    cwd: site.temp,
    env: {
      ...Object.fromEntries(inherited.map((name) => [name, undefined])),
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_CONFIG_NOSYSTEM: "1",
    },
    signal: site.signal,
    log: join(site.cache, "logs", "ggml.log"),
  });
}

/** Copies a tree of the cache to `kernels/ggml/`, in one move. */
export function layTree(site: Pick<Site, "root">, kept: string): void {
  // zig-out is ignored by git and on the file system of the checkout.
  const passage = join(site.root, "zig-out", `ggml.${process.pid}`);
  const laid = laidFolder(site);
  cpSync(kept, join(passage, "new"), { recursive: true });
  try {
    if (existsSync(laid)) renameSync(laid, join(passage, "old"));
    renameSync(join(passage, "new"), laid);
  } catch (error) {
    // Another set-up may lay the same tree in the same moment.
    if (!existsSync(laid)) throw error;
  } finally {
    rmSync(passage, { recursive: true });
  }
}
