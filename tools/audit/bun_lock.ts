/**
 * bun.lock as what it says: packages, what each needs, and which of them users get.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** One package of the lock. */
export interface LockedPackage {
  /** Its place: names from the outermost folder in, two where it is inside of another's. */
  readonly place: readonly string[];
  readonly name: string;
  readonly version: string;
  /** Hash of its tarball as npm writes it: `sha512-`, then base64. */
  readonly integrity: string;
  /** The registry, where it is not the usual one. */
  readonly registry: string;
  /** Packages of the lock that it needs; those for other platforms too. */
  readonly needs: readonly LockedPackage[];
  /** Whether programs that use us get it, or only who works on us. */
  readonly isRuntime: boolean;
}

/** The whole lock. */
export interface BunLock {
  /** Every package once, sorted by name and version. */
  readonly packages: readonly LockedPackage[];
  /** What package.json asked for when the lock was written. */
  readonly asked: Readonly<Record<string, string>>;
}

type Names = Readonly<Record<string, string>>;

interface Manifest {
  readonly dependencies?: Names;
  readonly devDependencies?: Names;
  readonly optionalDependencies?: Names;
  readonly peerDependencies?: Names;
  readonly optionalPeers?: readonly string[];
}

interface LockFile {
  readonly workspaces: Readonly<Record<string, Manifest>>;
  readonly packages: Readonly<
    Record<string, readonly [ident: string, registry: string, manifest: Manifest, hash: string]>
  >;
}

type Draft = { -readonly [Key in keyof LockedPackage]: LockedPackage[Key] };

/** JSON with commas before closing brackets, which is how Bun writes it. */
function parseLoose(text: string): unknown {
  const strict = text.replace(
    /("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])/g,
    (_, kept?: string) => kept ?? "",
  );
  return JSON.parse(strict);
}

/** `@a/b/c` as `@a/b` and `c`. */
function placeOf(key: string): string[] {
  return key.match(/@[^/]+\/[^/]+|[^/]+/g) ?? [];
}

/** What a package needs, by the names under which it asks. */
function neededNames(manifest: Manifest): string[] {
  const { optionalPeers = [], peerDependencies, dependencies, optionalDependencies } = manifest;
  const peers = Object.keys(peerDependencies ?? {}).filter((name) => !optionalPeers.includes(name));
  return [...new Set([dependencies, optionalDependencies].flatMap(namesOf).concat(peers))];
}

function namesOf(names: Names | undefined): string[] {
  return Object.keys(names ?? {});
}

/** The package that `name` is to one at `place`: the nearest, as in folders. */
function lookUp(
  byKey: ReadonlyMap<string, Draft>,
  place: readonly string[],
  name: string,
): Draft | undefined {
  for (let depth = place.length; depth >= 0; depth--) {
    const found = byKey.get([...place.slice(0, depth), name].join("/"));
    if (found !== undefined) return found;
  }
  return undefined;
}

function markRuntime(starts: readonly (Draft | undefined)[]): void {
  const waiting = starts.filter((each) => each !== undefined);
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (next.isRuntime) continue;
    next.isRuntime = true;
    waiting.push(...next.needs as Draft[]);
  }
}

/** Reads the text of a bun.lock. */
export function parseBunLock(text: string): BunLock {
  const { workspaces, packages } = parseLoose(text) as LockFile;
  const root = workspaces[""] ?? {};
  const byKey = new Map(
    Object.entries(packages).map(([key, [ident, registry, , integrity]]): [string, Draft] => {
      const at = ident.lastIndexOf("@");
      const [name, version] = [ident.slice(0, at), ident.slice(at + 1)];
      const place = placeOf(key);
      return [key, { place, name, version, integrity, registry, needs: [], isRuntime: false }];
    }),
  );
  for (const [key, [, , manifest]] of Object.entries(packages)) {
    const draft = byKey.get(key)!;
    draft.needs = neededNames(manifest)
      .map((name) => lookUp(byKey, draft.place, name))
      .filter((needed) => needed !== undefined);
  }
  markRuntime(namesOf(root.dependencies).map((name) => byKey.get(name)));
  const once = new Map([...byKey.values()].map((each) => [`${each.name}@${each.version}`, each]));
  const sorted = [...once].sort(([a], [b]) => a < b ? -1 : 1).map(([, each]) => each);
  return { packages: sorted, asked: { ...root.dependencies, ...root.devDependencies } };
}

/** Reads the lock of a checkout. */
export function readBunLock(root: string): BunLock {
  return parseBunLock(readFileSync(join(root, "bun.lock"), "utf8"));
}
