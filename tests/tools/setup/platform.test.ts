import { describe, expect, it } from "bun:test";
import {
  buildJobs,
  checkFloors,
  cpuIdentity,
  type Machine,
  memoryBytes,
  runtimeName,
  thisMachine,
} from "../../../tools/setup/platform.ts";

const flags = "fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx2";
const cpuinfo = (model: string, list: string): string =>
  `processor\t: 0\nvendor_id\t: X\nmodel name\t: ${model}\nflags\t\t: ${list}\nbogomips\t: 1\n`;
const machine = (more: Partial<Machine> = {}): Machine => ({
  platform: "linux",
  arch: "x64",
  versions: { bun: "1.4.5" },
  cpuinfo: cpuinfo("Zen", flags),
  ...more,
});

describe("checkFloors()", () => {
  it.each([
    [{}],
    [{ versions: { bun: "2.0.0" } }],
    [{ versions: { deno: "2.9.0" } }],
    [{ arch: "arm64", cpuinfo: "Features\t: fp asimd" }],
    [{ platform: "darwin", arch: "arm64", cpuinfo: "" }],
  ])("accepts %j", (more) => {
    expect(() => checkFloors(machine(more as Partial<Machine>))).not.toThrow();
  });

  it("accepts the machine that runs this", () => {
    expect(() => checkFloors(thisMachine())).not.toThrow();
  });

  it.each([
    [{ platform: "win32" }, "Windows: it has no build yet, use Linux in WSL 2"],
    [{ arch: "riscv64" }, "on linux-riscv64: expected Linux or macOS on x86-64 or arm64"],
    [{ versions: { bun: "1.3.9" } }, "1.4 or later, use npx -y bun@1.4.5 run server"],
    [{ versions: { deno: "2.8.1" } }, "2.9 or later, use npx -y deno@2.9.6 task serve"],
    [{ versions: { node: "24.0.0" } }, "on Node: it runs on Bun and Deno, use npx -y bun@1.4.5"],
    [{ cpuinfo: cpuinfo("Old", "fpu sse4_1 cx16 lahf_lm ssse3") }, "it lacks popcnt, sse4_2"],
  ])("refuses %j with what to do", (more, message) => {
    expect(() => checkFloors(machine(more as Partial<Machine>))).toThrow(message);
  });
});

describe("runtimeName()", () => {
  it("is the runtime, also where it says it is Node", () => {
    expect(runtimeName({ node: "24.0.0", bun: "1.4.5" })).toBe("bun");
    expect(runtimeName({ node: "24.0.0", deno: "2.9.6" })).toBe("deno");
  });
});

describe("cpuIdentity()", () => {
  it("changes with the model and with each feature, and with nothing else of the list", () => {
    const same = machine({ cpuinfo: cpuinfo("Zen", flags).replace("bogomips\t: 1", "MHz\t: 9") });
    const other = [
      machine({ cpuinfo: cpuinfo("Zen", `${flags} avx512f`) }),
      machine({ cpuinfo: cpuinfo("Lake", flags) }),
      machine({ arch: "arm64" }),
      machine({ arch: "arm64", cpuinfo: "Features\t: fp asimd\n" }),
      machine({ arch: "arm64", cpuinfo: "Features\t: fp asimd sve\n" }),
    ];
    expect(cpuIdentity(same)).toBe(cpuIdentity(machine()));
    expect(new Set([machine(), ...other].map(cpuIdentity)).size).toBe(6);
  });

  it("names a CPU without /proc/cpuinfo", () => {
    expect(cpuIdentity(machine({ platform: "darwin", cpuinfo: "" })).length).toBeGreaterThan(12);
  });
});

describe("memoryBytes() and buildJobs()", () => {
  it("give what this process may use", () => {
    expect(memoryBytes()).toBeGreaterThan(1e8);
    expect(memoryBytes()).toBeLessThan(Infinity);
    expect(buildJobs()).toBeGreaterThan(0);
  });
});
