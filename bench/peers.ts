/**
 * The programs that sluice is compared with, fetched and built into the cache when a bench first
 * wants them: llama-server and OpenVINO GenAI.
 *
 * @module
 */
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { SetupError } from "../src/errors.ts";
import { cacheFolder } from "../src/store/cache.ts";
import { onPath, run } from "../tools/setup/command.ts";
import { fetchPack, integrityOf, readLock } from "../tools/setup/ggml.ts";
import { sha256 } from "../tools/setup/hash.ts";
import { buildJobs, cpuIdentity, thisMachine } from "../tools/setup/platform.ts";
import type { Bar } from "../tools/setup/progress.ts";
import type { Site } from "../tools/setup/step.ts";
import { untar } from "../tools/setup/tar.ts";
import { make, type Workshop } from "./workshop.ts";

/** A program to compare with. */
export interface Peer {
  /** Name for `--peers`. */
  readonly key: string;
  /** Name in the table. */
  readonly name: string;
  /** Makes it ready; returns the path of its program. */
  prepare(workshop: Workshop): Promise<string>;
}

const openVinoVersion = "2026.4.1";

/** One static program; what its server could do beyond this bench is left out. */
const cmakeOptions = [
  ...["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_COMPILER=gcc", "-DCMAKE_CXX_COMPILER=g++"],
  ...["-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"],
  ...["-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF"],
];

/** llama.cpp's server at the version of the ggml that sluice is built from. */
export const llamaServer: Peer = {
  key: "llama",
  name: "llama-server",
  async prepare(workshop) {
    const own = process.env.SLUICE_BENCH_LLAMA;
    if (own) return own;
    const { root, signal } = workshop;
    const lock = readLock(root);
    needTools("llama-server", ["gcc", "g++", "cmake", "make", "git"], "or set SLUICE_BENCH_LLAMA");
    const gcc = await run(["gcc", "--version"], { purpose: "ask gcc", cwd: root, signal });
    const makers = [lock.integrity, cmakeOptions, tileBarrier, gcc, cpuIdentity(thisMachine())];
    const key = sha256(JSON.stringify(makers)).slice(0, 16);
    const program = join(peersFolder(), `llama-server-${lock.packageVersion}-${key}`);
    if (existsSync(program)) return program;
    await make("llama-server", peersFolder(), workshop, async (site, bar) => {
      if (!existsSync(program)) await buildLlamaServer(site, bar, program);
    });
    return program;
  },
};

/** OpenVINO GenAI; its program is a Python that has it. */
export const openVino: Peer = {
  key: "openvino",
  name: "OpenVINO GenAI",
  async prepare(workshop) {
    needTools("OpenVINO GenAI", ["python3"], "with its venv module and pip");
    const { root, signal } = workshop;
    const look = ["python3", "-c", "import sys; print(sys.executable, sys.version)"];
    const python = await run(look, { purpose: "ask python3", cwd: root, signal });
    const folder = join(
      peersFolder(),
      `openvino-${openVinoVersion}-${sha256(python).slice(0, 16)}`,
    );
    const stamp = join(folder, "complete");
    const program = join(folder, "bin", "python");
    if (existsSync(stamp)) return program;
    await make("openvino", peersFolder(), workshop, async ({ signal, cache }, bar) => {
      if (existsSync(stamp)) return;
      // A virtual environment holds its own path, so it is made in place and the stamp comes last.
      rmSync(folder, { recursive: true, force: true });
      const log = join(cache, "logs", "openvino.log");
      const options = { purpose: "install OpenVINO GenAI", cwd: cache, signal, log };
      bar.phase("installing");
      await run(["python3", "-m", "venv", folder], options);
      const quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
      const wanted = `openvino-genai==${openVinoVersion}`;
      await run(
        [program, "-m", "pip", "install", "--only-binary=:all:", ...quiet, wanted],
        options,
      );
      writeFileSync(stamp, "");
    });
    return program;
  },
};

/** Every peer. */
export const peers: readonly Peer[] = [llamaServer, openVino];

/** Clones the sources out of the package, mends them, builds, and keeps the one program. */
async function buildLlamaServer(site: Site, bar: Bar, program: string): Promise<void> {
  const { root, cache, temp, signal } = site;
  const lock = readLock(root);
  const pack = await fetchPack(site, lock, bar);
  const integrity = await integrityOf(pack);
  if (integrity !== lock.integrity) {
    throw new SetupError(
      `Cannot build llama-server: the hash of ${lock.package}@${lock.packageVersion} is ` +
        `${integrity}, expected ${lock.integrity}; check the package mirror`,
    );
  }
  bar.phase("unpacking");
  await untar(pack, temp, {
    place: (name) => name === `package/${lock.bundle}` ? "llama.bundle" : undefined,
    signal,
  });
  const source = join(temp, "llama");
  const build = join(temp, "build");
  const log = join(cache, "logs", "llama.log");
  const options = { purpose: "build llama-server", cwd: temp, signal, log };
  await run(["git", "clone", "--quiet", join(temp, "llama.bundle"), source], options);
  const file = join(source, "ggml", "src", "ggml-cpu", "amx", "mmq.cpp");
  writeFileSync(file, withTileBarrier(readFileSync(file, "utf8")));
  bar.phase("building");
  await run(["cmake", "-S", source, "-B", build, ...cmakeOptions], options);
  const jobs = String(buildJobs());
  await run(["cmake", "--build", build, "--target", "llama-server", "-j", jobs], options);
  copyFileSync(join(build, "bin", "llama-server"), join(temp, "llama-server"));
  renameSync(join(temp, "llama-server"), program);
}

const tileBarrier = '__asm__ volatile("" : : "r"(&tc) : "memory");';

/**
 * Keeps gcc 12 from dropping what is written to the tile configuration: its `_tile_loadconfig`
 * names only the first 8 bytes as input, so that the rest is dead to it, and the first product
 * with AMX ends the program. With it the peer runs as it was meant to.
 */
export function withTileBarrier(source: string): string {
  const load = "_tile_loadconfig(&tc);";
  const parts = source.split(load);
  if (parts.length !== 2) {
    throw new SetupError(
      `Cannot build llama-server: "${load}" is ${
        parts.length - 1
      } times in its sources, expected once`,
    );
  }
  return parts.join(`${tileBarrier}\n    ${load}`);
}

const peersFolder = (): string => join(cacheFolder(), "peers");

function needTools(peer: string, tools: readonly string[], advice: string): void {
  const missing = tools.filter((tool) => onPath(tool) === undefined);
  if (missing.length === 0) return;
  throw new SetupError(`Cannot prepare ${peer}: install ${missing.join(", ")}, ${advice}`);
}
