import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { load } from "../../mod.ts";
import { Backend, Plan } from "../../src/ggml/backend.ts";
import { Library } from "../../src/ggml/library.ts";
import { type LoadOptions, packsOf, type WeightFile, Weights } from "../../src/ggml/weights.ts";
import { cpuRewrites, lower, type Lowered } from "../../src/graph/lower.ts";
import { Graph } from "../../src/graph/record.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { LogRecords } from "../support/log_records.ts";
import { DEFAULT, LogitsProbe } from "../support/logits_probe.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const deno = ["run", "-A", "--no-check", "--config", `${root}deno.offline.json`];

// A file of two matrices of q8_0 for swiglu(gate x, up x), which are joined when they are loaded.
const [n_in, n_out] = [256, 512];
const blockBytes = 34;
/** What keeps them from being one range of the file. */
const gap = 32 * blockBytes;
const matrixBytes = n_in / 32 * n_out * blockBytes;
const lookup = () => ({ type: "q8_0" as const, ne: [n_in, n_out, 1, 1] as const });
const x = Float32Array.from({ length: n_in }, (_, i) => ((i * 7) % 13 - 6) / 8);
const one = { n_tokens: 1, n_streams: 1, n_blocks: 1, n_outputs: 1 };
const cache = { k: [], v: [], type: "f32" as const, n_cells: 0 };

let library: Library;
let backend: Backend;
let folder = "";
let packedDir = "";
let model: WeightFile;

beforeAll(async () => {
  library = await Library.open();
  backend = new Backend(library, 2);
});
afterAll(() => {
  backend[Symbol.dispose]();
  library[Symbol.dispose]();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-packed-"));
  packedDir = join(folder, "packed");
  const file = join(folder, "model.gguf");
  writeFileSync(file, contents(1));
  model = {
    file,
    fileSize: 64 + 2 * matrixBytes + gap,
    dataOffset: 64,
    tensors: new Map(
      ["gate", "up"].map((
        name,
        i,
      ) => [name, { offset: 64 + i * (matrixBytes + gap), size: matrixBytes }]),
    ),
  };
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What the model file holds: blocks with the scale 1/16, and codes that depend on `seed`. */
function contents(seed: number): Uint8Array {
  const bytes = new Uint8Array(64 + 2 * matrixBytes + gap);
  for (let i = 64; i < bytes.length; i++) {
    const at = (i - 64) % blockBytes;
    bytes[i] = at < 2 ? [0x00, 0x2c][at]! : Math.imul(i + seed, 0x9e3779b1) >>> 24;
  }
  return bytes;
}

interface Loaded {
  out: number[];
  keptBytes: number;
  copiedBytes: number;
  fault: string | undefined;
}

/** What the graph gives through weights that were loaded for it, and how they were loaded. */
function run(options: LoadOptions = { packedDir }, by: Library = library): Loaded {
  const g = new Graph(lookup);
  const input = g.input("x", "f32", n_in, 1);
  const [gate, up] = [g.mul_mat(g.weight("gate"), input), g.mul_mat(g.weight("up"), input)];
  const rewrites = cpuRewrites(packsOf(by, options));
  const lowered: Lowered = lower(g, g.swiglu_split(gate, up), lookup, rewrites);
  using weights = Weights.load(by, model, lowered, options);
  using plan = new Plan(backend, lowered, one, { weights, cache, flashAttention: false });
  plan.set("x", x);
  expect(plan.compute()).toBe(true);
  const out = new Float32Array(n_out);
  plan.read(out);
  const { keptBytes, copiedBytes, keepingFault } = weights;
  return { out: [...out], keptBytes, copiedBytes, fault: keepingFault };
}

const packedFiles = (): string[] =>
  readdirSync(packedDir).filter((name) => name.endsWith(".packed")).map((name) =>
    join(packedDir, name)
  );
const kept = { keptBytes: 2 * matrixBytes, copiedBytes: 0, fault: undefined };
const packed = { keptBytes: 0, copiedBytes: 2 * matrixBytes };

/** Overwrites some bytes of a file. */
function poke(path: string, at: number, bytes: Uint8Array): void {
  const file = openSync(path, "r+");
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}

const flipped = (path: string, at: number): Uint8Array =>
  Uint8Array.of(readFileSync(path).at(at)! ^ 1);

describe("PackedFile", () => {
  test.each([true, false])(
    "is written by the first start and mapped by the next, bit for bit the same (panels: %s)",
    (repack) => {
      const { out, ...how } = run({ repack });
      expect(how).toEqual({ ...packed, fault: undefined });
      expect(run({ repack, packedDir })).toEqual({ out, ...kept });
      const [path, ...more] = packedFiles();
      const { ino, mtimeMs } = statSync(path!);
      expect(run({ repack, packedDir })).toEqual({ out, ...kept });
      expect(statSync(path!)).toMatchObject({ ino, mtimeMs });
      expect(more).toEqual([]);
    },
  );

  test("is another one for a model file that was changed, whatever its size and time say", () => {
    const before = run();
    const [path] = packedFiles();
    const { atime, mtime } = statSync(model.file);
    writeFileSync(model.file, contents(2));
    utimesSync(model.file, atime, mtime);
    const expected = run({});
    expect(expected.out).not.toEqual(before.out);
    expect(run()).toEqual({ out: expected.out, ...kept });
    const [other, ...more] = packedFiles();
    expect(other).not.toBe(path);
    expect(more).toEqual([]);
  });

  test("stays when another model is kept beside it", () => {
    const first = run();
    const { file } = model;
    model = { ...model, file: join(folder, "model-2.gguf") };
    writeFileSync(model.file, contents(2));
    const second = run();
    expect(packedFiles().length).toBe(2);
    expect(run()).toEqual(second);
    model = { ...model, file };
    expect(run()).toEqual(first);
    expect(packedFiles().length).toBe(2);
  });

  test("is another one for another layout version", () => {
    const before = run();
    const [path] = packedFiles();
    const version = library.native.sluice_layout_version() + 1;
    const native = { ...library.native, sluice_layout_version: () => version };
    expect(run({ packedDir }, new Library(library.path, native))).toEqual(before);
    const [other, ...more] = packedFiles();
    expect(other).not.toBe(path);
    expect(more).toEqual([]);
  });

  test.each<[string, (path: string, bytes: Uint8Array) => void]>([
    ["is empty", (path) => writeFileSync(path, "")],
    ["is cut", (path, bytes) => writeFileSync(path, bytes.subarray(0, -1))],
    ["is too long", (path) => appendFileSync(path, "x")],
    ["has another text", (path) => poke(path, 3, flipped(path, 3))],
    ["has another first byte of weights", (path) => poke(path, 4096, flipped(path, 4096))],
    ["has a hole", (path, { length }) => poke(path, length / 2 | 0, new Uint8Array(length / 7))],
    ["has another hash", (path) => poke(path, statSync(path).size - 1, flipped(path, -1))],
  ])("is written anew when it %s", (_, damage) => {
    const { out } = run();
    const [path] = packedFiles();
    const bytes = readFileSync(path!);
    damage(path!, bytes);
    const { fault, ...how } = run();
    expect(how).toEqual({ out, keptBytes: 2 * matrixBytes, copiedBytes: 0 });
    expect(fault).toMatch(/is damaged: it is written anew$/);
    expect(readFileSync(path!).equals(bytes)).toBe(true);
    expect(run()).toEqual({ out, ...kept });
  });

  test("is not made where another process writes it, and by the next start", () => {
    const { out } = run();
    for (const path of packedFiles()) rmSync(path);
    const lockFile = readdirSync(packedDir).find((name) => name.endsWith("lock"))!;
    const path = new TextEncoder().encode(`${join(packedDir, lockFile)}\0`);
    const lock = library.native.sluice_lock_take(path);
    expect(run()).toMatchObject({ out, ...packed });
    expect(run().fault).toMatch(/^Cannot write packed weights: .* it is locked$/);
    expect(packedFiles()).toEqual([]);
    library.native.sluice_lock_release(lock);
    expect(run()).toEqual({ out, ...kept });
  });

  test("is not made of a model file that was changed meanwhile", () => {
    const onProgress = (): void => utimesSync(model.file, new Date(), new Date());
    expect(run({ packedDir, onProgress })).toMatchObject(packed);
    expect(packedFiles()).toEqual([]);
    expect(run()).toMatchObject(kept);
  });

  test("takes the place of what a process left that was killed", () => {
    const { out } = run();
    const [path] = packedFiles();
    const part = path!.replace(/[0-9a-f]{16}\.packed$/, "part");
    rmSync(path!);
    writeFileSync(part, new Uint8Array(10 * matrixBytes).fill(7));
    expect(run()).toEqual({ out, ...kept });
    expect(run()).toEqual({ out, ...kept });
    expect(existsSync(part)).toBe(false);
  });

  test("is not needed: a folder that cannot be made stops no start", () => {
    const { out } = run({});
    for (const packedDir of [join(model.file, "below"), "/proc/sluice/packed"]) {
      const { fault, ...how } = run({ packedDir });
      expect(how).toEqual({ out, ...packed });
      expect(fault).toMatch(/ENOTDIR|EEXIST|ENOENT|not a directory|no such file/i);
    }
  });

  test("is not needed: a full device stops no start, and leaves nothing behind", () => {
    const { out } = run();
    const [path] = packedFiles();
    rmSync(path!);
    const part = path!.replace(/[0-9a-f]{16}\.packed$/, "part");
    symlinkSync("/dev/full", part);
    const { fault, ...how } = run();
    expect(how).toEqual({ out, ...packed });
    expect(fault).toMatch(/ENOSPC|no space/i);
    expect(readdirSync(packedDir).filter((name) => !name.endsWith("lock"))).toEqual([]);
  });
});

function mount(folder: string, ...options: string[]): boolean {
  mkdirSync(folder, { recursive: true });
  const words = ["-t", "tmpfs", "-o", options.join(","), "tmpfs", folder];
  return spawnSync("mount", words).status === 0;
}

const unmount = (folder: string): boolean => spawnSync("umount", [folder]).status === 0;

const canMount = (() => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-disk-"));
  try {
    return mount(folder, "size=64k") && unmount(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
})();

describe("PackedFile on a disk of its own", () => {
  test.skipIf(!canMount)("is given up when the disk is full (needs mount)", () => {
    const { out } = run({});
    mount(packedDir, "size=128k");
    try {
      const { fault, ...how } = run();
      expect(how).toEqual({ out, ...packed });
      expect(fault).toMatch(/ENOSPC|no space/i);
      expect(packedFiles()).toEqual([]);
    } finally {
      unmount(packedDir);
    }
  });

  test.skipIf(!canMount)("is mapped from a disk that nobody may write (needs mount)", () => {
    mount(packedDir, "size=1m");
    try {
      const { out } = run();
      mount(packedDir, "remount", "ro");
      expect(run()).toEqual({ out, ...kept });
      model = { ...model, file: join(folder, "other.gguf") };
      writeFileSync(model.file, contents(2));
      expect(run()).toMatchObject(packed);
      expect(run().fault).toMatch(/ROFS|read-only/i);
    } finally {
      unmount(packedDir);
    }
  });
});

describe("a model with packedDir", () => {
  const { path } = resolveModel("smollm2");
  const ids = [504, 2563, 314, 260, 1029];

  test("has the same logits bit for bit, packed, written and mapped", async () => {
    const rows = [];
    for (const options of [{}, { packedDir }, { packedDir }]) {
      using probe = await LogitsProbe.open(path, { ...DEFAULT, ...options });
      rows.push(probe.logits(ids));
    }
    expect(rows[1]).toEqual(rows[0]!);
    expect(rows[2]).toEqual(rows[0]!);
    expect(packedFiles().length).toBe(1);
  }, 60_000);

  test("is loaded whatever the folder is, and the log says why nothing was kept", async () => {
    using log = new LogRecords();
    {
      await using loaded = await load("smollm2", { ctxSize: 64, packedDir: model.file });
      expect(loaded.core.keptBytes).toBe(0);
    }
    const [record, ...more] = log.of("engine");
    expect([record?.level, record?.message[0]]).toEqual(["warning", "packed weights"]);
    expect(log.text).not.toContain(folder);
    expect(more).toEqual([]);
  }, 60_000);

  test("is written once by two processes that start together, and answers in both", async () => {
    const args = [
      "src/cli.ts",
      "generate",
      "--packed-dir",
      packedDir,
      "--max-tokens",
      "4",
      "--temperature",
      "0",
    ];
    const program = "Deno" in globalThis ? [...deno, ...args] : args;
    const start = async (): Promise<[string, number]> => {
      const child = spawn(process.execPath, [...program, "The sky is"], {
        cwd: root,
        stdio: ["ignore", "pipe", "ignore"],
      });
      let text = "";
      child.stdout.on("data", (piece) => text += piece);
      return await new Promise((end) => child.once("close", (code) => end([text, code ?? -1])));
    };
    const [[first, code], other] = await Promise.all([start(), start()]);
    expect(code).toBe(0);
    expect(first.length).toBeGreaterThan(1);
    expect(other).toEqual([first, code]);
    expect(readdirSync(packedDir).map((name) => name.replace(/.*(?=\.|-)/, "")).sort())
      .toEqual(["-lock", ".packed"]);
    await using loaded = await load("smollm2", { ctxSize: 64, packedDir });
    expect(loaded.core.keptBytes).toBeGreaterThan(80e6);
    expect(loaded.core.keepingFault).toBeUndefined();
  }, 60_000);
});
