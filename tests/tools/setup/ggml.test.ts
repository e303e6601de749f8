import { describe, expect, it } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { ggml, type GgmlLock, integrityOf, lockPath } from "../../../tools/setup/ggml.ts";
import { sha256 } from "../../../tools/setup/hash.ts";
import { makeTar } from "./archives.ts";
import { noBar, Workplace } from "./workplace.ts";

const path = process.env.PATH;

const sources: Readonly<Record<string, string>> = {
  "LICENSE": "MIT License\n",
  "ggml/include/ggml.h": "int ggml;\n",
  "ggml/src/ggml.c": "int ggml = 1;\r\n",
  "ggml/src/ggml-cuda/big.cu": "not wanted\n",
  "README.md": "not wanted\n",
};
const laid = ["LICENSE", "include/ggml.h", "src/ggml.c"];
const laidHash = sha256(
  laid.map((file) => {
    const text = sources[file] ?? sources[`ggml/${file}`] ?? "";
    return `${sha256(text)}  ${file}\n`;
  }).join(""),
);

/** A package as npm packs it, with a real git bundle in it. */
function makePack(place: Workplace): string {
  const repository = join(place.folder, "llama");
  for (const [name, text] of Object.entries(sources)) {
    mkdirSync(join(repository, name, ".."), { recursive: true });
    writeFileSync(join(repository, name), text);
  }
  const script = `git init -q . && git add -A &&
    git -c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -q -m all &&
    git bundle create -q ../bundle HEAD`;
  const env = { PATH: path, HOME: place.folder };
  execFileSync("/bin/sh", ["-c", script], { cwd: repository, env });
  const pack = join(place.folder, "pack.tgz");
  const bundle = readFileSync(join(place.folder, "bundle"));
  const members = [{ name: "package/package.json", data: "{}" }, {
    name: "package/llama/x.bundle",
    data: bundle,
  }];
  writeFileSync(pack, gzipSync(makeTar(members)));
  return pack;
}

/** A checkout with a lock file, and an npm that packs that package. */
async function prepare(place: Workplace, more: Partial<GgmlLock> = {}): Promise<void> {
  const pack = makePack(place);
  place.real("git");
  place.script(
    "npm",
    `PATH=$REAL_PATH
    echo "$*" > '${place.folder}/arguments'
    while [ "$1" != --pack-destination ]; do shift; done
    cp '${pack}' "$2/llama-1.0.0.tgz"`,
  );
  const lock: GgmlLock = {
    version: "0.1.0",
    package: "llama",
    packageVersion: "1.0.0",
    integrity: await integrityOf(pack),
    bundle: "llama/x.bundle",
    paths: ["LICENSE", "ggml/include", ":(glob)ggml/src/*"],
    sha256: laidHash,
    licence: "MIT",
    ...more,
  };
  place.write("kernels/ggml.lock.json", JSON.stringify(lock));
}

describe("the ggml step", () => {
  it("takes the wanted part out of tarball, bundle and repository, byte for byte", async () => {
    using place = new Workplace();
    await prepare(place);
    expect(ggml.ready(place)).toBe(false);
    await ggml.run(place, noBar);
    expect(ggml.ready(place)).toBe(true);
    const folder = join(place.root, "kernels", "ggml");
    expect(readdirSync(folder, { recursive: true }).sort()).toEqual(
      [...laid, "include", "src"].sort(),
    );
    expect(readFileSync(join(folder, "src/ggml.c"), "utf8")).toBe("int ggml = 1;\r\n");
    const args = readFileSync(join(place.folder, "arguments"), "utf8");
    expect(args).toMatch(/^pack llama@1\.0\.0 --ignore-scripts /);
    expect(readdirSync(place.temp)).not.toContain("ggml.git");
  });

  it("lays a kept tree again without any program, after a change or a loss", async () => {
    using place = new Workplace();
    await prepare(place);
    await ggml.run(place, noBar);
    place.write("kernels/ggml/src/ggml.c", "edited");
    process.env.PATH = "";
    expect(ggml.ready(place)).toBe(true);
    const file = join(place.root, "kernels/ggml/src/ggml.c");
    expect(readFileSync(file, "utf8")).toBe("int ggml = 1;\r\n");
    expect(readdirSync(join(place.root, "zig-out"))).toEqual([]);
  });

  it("does not trust a kept tree that was changed", async () => {
    using place = new Workplace();
    await prepare(place);
    await ggml.run(place, noBar);
    writeFileSync(join(place.cache, "ggml", laidHash, "LICENSE"), "edited");
    place.write("kernels/ggml/LICENSE", "edited");
    expect(ggml.ready(place)).toBe(false);
  });

  it("is not ready when the lock file names another tree", async () => {
    using place = new Workplace();
    await prepare(place);
    await ggml.run(place, noBar);
    const lock = readFileSync(lockPath(place.root), "utf8");
    writeFileSync(lockPath(place.root), lock.replace(laidHash, "0".repeat(64)));
    expect(ggml.ready(place)).toBe(false);
  });

  it("refuses a tree with another hash and lays nothing", async () => {
    using place = new Workplace();
    await prepare(place, { sha256: "0".repeat(64) });
    await expect(ggml.run(place, noBar)).rejects.toThrow(
      `Cannot lay ggml 0.1.0: the sha256 of its tree is ${laidHash}, expected 000`,
    );
    expect(existsSync(join(place.root, "kernels", "ggml"))).toBe(false);
    expect(existsSync(join(place.cache, "ggml"))).toBe(false);
  });

  it("refuses a tarball with another hash", async () => {
    using place = new Workplace();
    await prepare(place, { integrity: "sha512-other" });
    await expect(ggml.run(place, noBar)).rejects.toThrow(
      /^Cannot use llama@1\.0\.0: its hash is sha512-.*, expected sha512-other; check the package/,
    );
  });

  it("says what npm said", async () => {
    using place = new Workplace();
    await prepare(place);
    place.script("npm", "echo 'npm error code ENOTFOUND' >&2; exit 1");
    await expect(ggml.run(place, noBar)).rejects.toThrow(
      'ended with 1 and said "npm error code ENOTFOUND"; check the network and npm\'s settings',
    );
  });

  it("is not led astray by the git settings of the caller", async () => {
    using place = new Workplace();
    await prepare(place);
    process.env.GIT_DIR = join(place.folder, "elsewhere");
    try {
      await ggml.run(place, noBar);
    } finally {
      delete process.env.GIT_DIR;
    }
    expect(ggml.ready(place)).toBe(true);
  });
});
