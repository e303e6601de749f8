/**
 * Hugging Face's folder of files, laid out as its own tools lay it out, so that all share them.
 *
 * A repository is `models--owner--repo`: contents are in `blobs` under their hash, `snapshots/
 * COMMIT` holds links to them by name, `refs/main` the newest commit that is known. A blob gets its
 * name only once it is whole, so whatever a snapshot shows is whole.
 *
 * @module
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import process from "node:process";

const FOLDER = /^models--([\w.-]+?)--([\w.-]+)$/;
const COMMIT = /^[0-9a-f]{40}$/;

/** One file of a repository as it is in the cache. */
export interface CachedFile {
  /** `owner/repo`. */
  readonly repo: string;
  /** Path inside the repository. */
  readonly file: string;
  /** Absolute path on this machine. */
  readonly path: string;
}

/** The cache; the folder may not exist. */
export class HubCache {
  readonly #folder: string;

  /** @param folder see `hubFolder` */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The folder of a repository's contents. */
  blobs(repo: string): string {
    return join(this.#repoFolder(repo), "blobs");
  }

  /** The lock of one content, beside those of other tools. */
  lock(repo: string, sha256: string): string {
    return join(this.#folder, ".locks", folderName(repo), `${sha256}.sluice`);
  }

  /** The files of a repository's newest known commit. */
  files(repo: string): CachedFile[] {
    const commit = this.#commit(repo);
    if (commit === undefined) return [];
    const snapshot = join(this.#repoFolder(repo), "snapshots", commit);
    return entries(snapshot, true)
      .map((file) => ({ repo, file: file.split(sep).join("/"), path: join(snapshot, file) }))
      .filter(({ path }) => isWholeFile(path));
  }

  /** Every GGUF file of every repository, by name. */
  list(): CachedFile[] {
    return entries(this.#folder, false).flatMap((name) => {
      const [, owner, repo] = FOLDER.exec(name) ?? [];
      return owner === undefined ? [] : this.files(`${owner}/${repo}`);
    }).filter(({ file }) => /\.gguf$/i.test(file))
      .sort((a, b) => a.repo === b.repo ? (a.file < b.file ? -1 : 1) : a.repo < b.repo ? -1 : 1);
  }

  /**
   * Shows a content, which must be whole, under its name in a commit, and makes that commit the
   * newest.
   *
   * @returns the path of the name
   */
  show(repo: string, commit: string, file: string, sha256: string): string {
    const folder = this.#repoFolder(repo);
    const path = join(folder, "snapshots", commit, file);
    const blob = join(folder, "blobs", sha256);
    if (!isWholeFile(path) || realpathSync(path) !== realpathSync(blob)) {
      mkdirSync(dirname(path), { recursive: true });
      replace(path, (temporary) => symlinkSync(relative(dirname(path), blob), temporary));
    }
    mkdirSync(join(folder, "refs"), { recursive: true });
    if (this.#commit(repo) !== commit) {
      replace(join(folder, "refs", "main"), (temporary) => writeFileSync(temporary, commit));
    }
    return path;
  }

  #repoFolder(repo: string): string {
    return join(this.#folder, folderName(repo));
  }

  #commit(repo: string): string | undefined {
    const file = join(this.#repoFolder(repo), "refs", "main");
    if (!isWholeFile(file)) return undefined;
    const commit = readFileSync(file, "utf8").trim();
    return COMMIT.test(commit) ? commit : undefined;
  }
}

function folderName(repo: string): string {
  return `models--${repo.replace("/", "--")}`;
}

/** Names in a folder; none where there is no folder. */
function entries(folder: string, recursive: boolean): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive, encoding: "utf8" });
}

function isWholeFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile();
}

/** Makes something beside a path and puts it in its place in one step. */
function replace(path: string, make: (temporary: string) => void): void {
  const temporary = `${path}.${process.pid}.sluice`;
  rmSync(temporary, { force: true });
  make(temporary);
  renameSync(temporary, path);
}
