/**
 * What the machine can do at most, measured by a small program that is compiled for this very CPU.
 *
 * @module
 */
import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { EngineError, SetupError } from "../src/errors.ts";
import { cacheFolder } from "../src/store/cache.ts";
import { run } from "../tools/setup/command.ts";
import { sha256 } from "../tools/setup/hash.ts";
import { cpuIdentity, thisMachine } from "../tools/setup/platform.ts";
import { findZig, zigCaches, zigVersion } from "../tools/setup/zig.ts";
import { make, type Workshop } from "./workshop.ts";

/** The most of each that some threads did together. */
export interface Roofline {
  readonly threads: number;
  /** Bytes read from memory, in 10^9 a second. */
  readonly readGbS: number;
  /** Operations on bytes, in 10^9 a second; a product with its addition is two. */
  readonly int8Gops: number;
  /** The same of codes of four bits with bytes, which some processors do sooner. */
  readonly int4Gops: number;
  /** Operations on floats of 32 bits, in 10^9 a second. */
  readonly f32Gflops: number;
  /** The same of 16 bits in the layout of bfloat16; 0 where the CPU has no instruction for it. */
  readonly bf16Gflops: number;
  /** What multiplied the bytes. */
  readonly int8Instruction: string;
}

/**
 * Path of the program, compiled where it is not yet in the cache.
 *
 * @throws {SetupError} when Zig is missing or refuses
 */
export async function prepareRoofline(workshop: Workshop): Promise<string> {
  const source = join(workshop.root, "bench", "roofline.zig");
  const makers = [zigVersion, readFileSync(source, "utf8"), cpuIdentity(thisMachine())];
  const folder = join(cacheFolder(), "bench");
  const program = join(folder, `roofline-${sha256(makers.join("\n")).slice(0, 16)}`);
  if (existsSync(program)) return program;
  const site = { cache: cacheFolder() };
  const zig = findZig(site);
  if (zig === undefined) {
    throw new SetupError("Cannot measure the roofline: Zig is missing, run the set-up first");
  }
  await make("roofline", folder, workshop, async ({ root, cache, temp, signal }, bar) => {
    bar.phase("compiling");
    const [builds, libraries] = zigCaches(site);
    const half = join(temp, "roofline");
    const options = ["-O", "ReleaseFast", "-mcpu=native", "-lc", `-femit-bin=${half}`];
    await run([zig, "build-exe", ...options, "--cache-dir", builds, source], {
      purpose: "compile the roofline",
      cwd: root,
      env: { ZIG_GLOBAL_CACHE_DIR: libraries },
      signal,
      log: join(cache, "logs", "roofline.log"),
    });
    renameSync(half, program);
  });
  return program;
}

/** Measures for about a second. */
export async function measureRoofline(
  program: string,
  threads: number,
  signal: AbortSignal,
): Promise<Roofline> {
  const command = [program, "--threads", String(threads)];
  const purpose = "measure the roofline";
  return parseRoofline(await run(command, { purpose, cwd: cacheFolder(), signal }));
}

/**
 * Reads what the program prints.
 *
 * @throws {EngineError} when it is something else
 */
export function parseRoofline(printed: string): Roofline {
  const fail = (cause?: unknown): never => {
    const what = JSON.stringify(printed.slice(0, 200));
    throw new EngineError(`Cannot read the roofline: it is ${what}, expected one line of JSON`, {
      cause,
    });
  };
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(printed);
  } catch (error) {
    return fail(error);
  }
  const number = (key: string, least = Number.MIN_VALUE): number => {
    const value = line[key];
    return typeof value === "number" && value >= least ? value : fail();
  };
  return {
    threads: number("threads"),
    readGbS: number("read_gb_s"),
    int8Gops: number("int8_gops"),
    int4Gops: number("int4_gops"),
    f32Gflops: number("f32_gflops"),
    bf16Gflops: number("bf16_gflops", 0),
    int8Instruction: String(line["int8_instruction"]),
  };
}
