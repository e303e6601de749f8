import { describe, expect, it } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { libraryKey, native } from "../../../tools/setup/native.ts";
import { type Machine, thisMachine } from "../../../tools/setup/platform.ts";
import { noBar, Workplace } from "./workplace.ts";

const library = process.platform === "darwin" ? "libsluice.dylib" : "libsluice.so";
const machine: Machine = {
  platform: "linux",
  arch: "x64",
  versions: {},
  cpuinfo: "model name\t: Zen\nflags\t\t: sse4_2 avx2\n",
};

/** A checkout, and a Zig that "builds" a library and counts its builds. */
function prepare(place: Workplace, build: string): void {
  place.write("build.zig", "");
  place.write("kernels/exports.zig", "export fn a() void {}");
  place.write("kernels/ggml.lock.json", "{}");
  place.script(
    "zig",
    `PATH=$REAL_PATH
    [ "$1" = version ] && echo 0.17.0 && exit 0
    echo build >> '${place.folder}/builds'
    while [ "$1" != --prefix ]; do shift; done
    ${build}`,
  );
}

const builds = (place: Workplace): number =>
  readFileSync(join(place.folder, "builds"), "utf8").split("\n").length - 1;
const laid = (place: Workplace, name = library): string =>
  readFileSync(join(place.root, "zig-out", "lib", name), "utf8");
const good = `mkdir -p "$2/lib" && cp kernels/exports.zig "$2/lib/${library}"`;

describe("libraryKey()", () => {
  it("changes with every source, the build file, the pin of ggml and the CPU", () => {
    using place = new Workplace();
    prepare(place, good);
    const keys = [libraryKey(place.root, machine)];
    for (const file of ["kernels/exports.zig", "build.zig", "kernels/ggml.lock.json"]) {
      place.write(file, "changed");
      keys.push(libraryKey(place.root, machine));
    }
    place.write("kernels/cpu/new.zig", "");
    keys.push(libraryKey(place.root, machine));
    const other = { ...machine, cpuinfo: machine.cpuinfo.replace("avx2", "avx2 avx512f") };
    keys.push(libraryKey(place.root, other));
    expect(new Set(keys).size).toBe(6);
  });

  it("does not depend on the laid tree, on TypeScript or on where the checkout is", () => {
    using place = new Workplace();
    using elsewhere = new Workplace();
    prepare(place, good);
    prepare(elsewhere, good);
    elsewhere.write("kernels/ggml/src/ggml.c", "");
    elsewhere.write("src/cli.ts", "");
    expect(libraryKey(elsewhere.root, machine)).toBe(libraryKey(place.root, machine));
  });
});

describe("the library step", () => {
  it("builds once for a key, lays the library and says which it is", async () => {
    using place = new Workplace();
    prepare(place, good);
    expect(native.ready(place)).toBe(false);
    await native.run(place, noBar);
    expect(native.ready(place)).toBe(true);
    expect(laid(place)).toBe("export fn a() void {}");
    expect(laid(place, "libsluice.key")).toBe(libraryKey(place.root, thisMachine()));
    expect(readdirSync(join(place.root, "zig-out", "lib")).length).toBe(2);
  });

  it("is not ready after a change, and needs no build to go back", async () => {
    using place = new Workplace();
    prepare(place, good);
    await native.run(place, noBar);
    place.write("kernels/exports.zig", "second");
    expect(native.ready(place)).toBe(false);
    await native.run(place, noBar);
    expect(laid(place)).toBe("second");
    place.write("kernels/exports.zig", "export fn a() void {}");
    expect(native.ready(place)).toBe(true);
    expect(laid(place)).toBe("export fn a() void {}");
    rmSync(join(place.root, "zig-out"), { recursive: true });
    expect(native.ready(place)).toBe(true);
    expect(builds(place)).toBe(2);
  });

  it("replaces a library that was built for another machine", async () => {
    using place = new Workplace();
    prepare(place, good);
    await native.run(place, noBar);
    mkdirSync(join(place.root, "zig-out", "lib"), { recursive: true });
    writeFileSync(join(place.root, "zig-out", "lib", library), "foreign");
    writeFileSync(join(place.root, "zig-out", "lib", "libsluice.key"), "its key");
    expect(native.ready(place)).toBe(true);
    expect(laid(place)).toBe("export fn a() void {}");
  });

  it("lays nothing when the build fails, and says what Zig said", async () => {
    using place = new Workplace();
    prepare(place, 'echo "kernels/exports.zig:1:1: error: expected a thing" >&2; exit 1');
    await expect(native.run(place, noBar)).rejects.toThrow(
      'zig ended with 1 and said "kernels/exports.zig:1:1: error: expected a thing"; its output',
    );
    expect(native.ready(place)).toBe(false);
  });
});
