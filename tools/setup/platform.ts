/**
 * What this machine and this runtime are, and whether sluice runs on them.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { arch, availableParallelism, cpus, release, totalmem } from "node:os";
import process from "node:process";
import { SetupError } from "../../src/errors.ts";

/** Oldest runtimes that are known to work, and the ones that a sentence recommends. */
const floors = {
  bun: { oldest: [1, 4], name: "Bun", command: "npx -y bun@1.4.5 run server" },
  deno: { oldest: [2, 9], name: "Deno", command: "npx -y deno@2.9.6 task serve" },
} as const;

/** Instructions of x86-64-v2, by the names in /proc/cpuinfo. */
const x64Flags = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"];

/** What the floors are about; a test gives its own. */
export interface Machine {
  readonly platform: string;
  readonly arch: string;
  readonly versions: Readonly<Record<string, string | undefined>>;
  /** Text of /proc/cpuinfo; empty where there is none. */
  readonly cpuinfo: string;
}

/** The machine that this runs on. */
export function thisMachine(): Machine {
  const { platform, versions } = process;
  const cpuinfo = platform === "linux" ? readFileSync("/proc/cpuinfo", "utf8") : "";
  return { platform, arch: arch(), versions, cpuinfo };
}

/** The runtime that runs this. */
export function runtimeName(versions: Machine["versions"] = process.versions): "bun" | "deno" {
  if (versions.bun !== undefined) return "bun";
  if (versions.deno !== undefined) return "deno";
  throw new SetupError(
    `Cannot set up sluice on Node: it runs on Bun and Deno, use ${floors.bun.command}`,
  );
}

/**
 * Refuses a machine or runtime below the floors.
 *
 * @throws {SetupError} with the one thing to do
 */
export function checkFloors(machine: Machine): void {
  const { platform, arch } = machine;
  if (platform === "win32") {
    throw new SetupError(
      "Cannot set up sluice on Windows: it has no build yet, use Linux in WSL 2",
    );
  }
  if (!["linux-x64", "linux-arm64", "darwin-arm64", "darwin-x64"].includes(`${platform}-${arch}`)) {
    throw new SetupError(
      `Cannot set up sluice on ${platform}-${arch}: expected Linux or macOS on x86-64 or arm64`,
    );
  }
  const runtime = runtimeName(machine.versions);
  const { oldest, name, command } = floors[runtime];
  const version = machine.versions[runtime] ?? "0";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
    throw new SetupError(
      `Cannot set up sluice on ${name} ${version}: expected ${oldest.join(".")} or later, ` +
        `use ${command}`,
    );
  }
  const flags = cpuLine(machine.cpuinfo, "flags")?.split(" ") ?? [];
  const lacking = arch === "x64" && flags.length > 0
    ? x64Flags.filter((flag) => !flags.includes(flag))
    : [];
  if (lacking.length > 0) {
    throw new SetupError(
      `Cannot set up sluice on this CPU: it lacks ${lacking.join(", ")}, ` +
        "expected x86-64-v2 (any since about 2010); use another machine",
    );
  }
}

/**
 * Names the CPU so that a library built for one is not used on another: its model, and its
 * features as the kernel reports them.
 */
export function cpuIdentity(machine: Machine): string {
  const lines = ["vendor_id", "model name", "cpu family", "model", "flags"]
    .concat("CPU implementer", "CPU part", "CPU variant", "Features")
    .map((key) => cpuLine(machine.cpuinfo, key));
  const known = lines.filter((line) => line !== undefined);
  const words = known.length > 0 ? known : [cpus()[0]?.model ?? "unknown", release()];
  return [machine.platform, machine.arch, ...words].join("\n");
}

/** Value of the first line of /proc/cpuinfo with this key. */
function cpuLine(cpuinfo: string, key: string): string | undefined {
  return new RegExp(`^${key}\\s*: (.*)$`, "m").exec(cpuinfo)?.[1];
}

/** Memory that this process may use, in bytes: the machine's, or less inside a container. */
export function memoryBytes(): number {
  const limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
  return Math.min(totalmem(), ...limits.map(readLimit));
}

function readLimit(file: string): number {
  try {
    return Number.parseInt(readFileSync(file, "utf8")) || Infinity;
  } catch (error) {
    if (error instanceof Error && "code" in error) return Infinity;
    throw error;
  }
}

/** Compilers to run side by side: one per core, and half a gigabyte of memory for each. */
export function buildJobs(): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(memoryBytes() / 5e8)));
}
