/** Programs that pull: two at once, one that is killed, one whose disk is really full. */
import { describe, expect, it } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { FILE, MockHub, Place, REF, refusalOf, sha256 } from "./mock_hub.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const deno = ["run", "-A", "--no-check", "--config", `${root}deno.offline.json`];

/** A pull in a process of its own, on the runtime that runs the tests. */
class Pull {
  readonly #child;
  out = "";
  err = "";
  readonly code: Promise<number | string | null>;

  constructor(place: Place, ...args: string[]) {
    const command = [`${root}src/store/cli.ts`, ...args];
    this.#child = spawn(process.execPath, "Deno" in globalThis ? [...deno, ...command] : command, {
      env: { PATH: process.env.PATH, ...place.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.stdout.on("data", (piece) => this.out += piece);
    this.#child.stderr.on("data", (piece) => this.err += piece);
    this.code = new Promise((resolve) => {
      this.#child.once("close", (code, signal) => resolve(signal ?? code));
    });
  }

  kill(signal: "SIGKILL" | "SIGINT"): void {
    // Not child.kill(): after that, Deno reports a clean end as the signal's.
    process.kill(this.#child.pid!, signal);
  }
}

/** Looks until something holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe("a program that pulls", () => {
  it("says where the model is, and lists it", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    const pull = new Pull(place, "pull", REF);
    expect([await pull.code, pull.err.split("\n").length]).toEqual([0, 2]);
    expect(pull.out).toMatch(new RegExp(`^${place.repo}/snapshots/[0-9a-f]{40}/${FILE}\n$`));
    const list = new Pull(place, "list");
    expect(await list.code).toBe(0);
    expect(list.out).toBe(`${REF}/${FILE}     0.3 MB  ${pull.out}`);
  });

  it("fails with one sentence, and says which folder it is about", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    writeFileSync(join(place.folder, "hub"), "");
    const pull = new Pull(place, "pull", REF);
    expect(await pull.code).toBe(1);
    expect(pull.err).toContain("sluice: Cannot pull");
    expect(pull.err.trimEnd()).toMatch(/ \(in .*hub\)$/);
    expect(pull.err.trimEnd().split("\n").length).toBe(1);
  });

  it("waits for another one, and fetches nothing itself", async () => {
    await using hub = await MockHub.open();
    const gate = Promise.withResolvers<void>();
    hub.faults.push({ hangAfter: 100_000, until: gate.promise });
    using place = new Place(hub);
    const pulls = [new Pull(place, "pull", REF), new Pull(place, "pull", REF)];
    // Both know what to fetch, and one of them has begun.
    await until(() => hub.all.length === 3 && hub.partBytes() === 100_000);
    gate.resolve();
    expect(await Promise.all(pulls.map(({ code }) => code))).toEqual([0, 0]);
    expect(pulls[0]?.out).toBe(pulls[1]?.out ?? "");
    expect(hub.ranges).toEqual(["all"]);
    expect(sha256(readFileSync(pulls[0]?.out.trim() ?? ""))).toBe(hub.sha256);
    expect(place.blobs).toEqual([hub.sha256]);
  });

  it("that is killed leaves no model, and the one who waited for it goes on", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ hangAfter: 100_000 });
    using place = new Place(hub);
    const killed = new Pull(place, "pull", REF);
    await until(() => hub.partBytes() === 100_000);
    const waiting = new Pull(place, "pull", REF);
    await until(() => hub.all.length === 3);
    killed.kill("SIGKILL");
    expect(await killed.code).toBe("SIGKILL");
    expect(await waiting.code).toBe(0);
    expect(hub.ranges).toEqual(["all", "bytes=100000-"]);
    expect(sha256(readFileSync(waiting.out.trim()))).toBe(hub.sha256);
  });

  it("that is killed again and again ends with the right file", async () => {
    await using hub = await MockHub.open();
    using place = new Place(hub);
    for (const at of [1, 50_000, 123_456, 299_999]) {
      hub.faults.push({ hangAfter: at - hub.partBytes() });
      const pull = new Pull(place, "pull", REF);
      await until(() => hub.partBytes() === at);
      pull.kill("SIGKILL");
      await pull.code;
      expect(existsSync(join(place.repo, "refs"))).toBe(false);
      expect(place.store().list()).toEqual([]);
    }
    const { path } = await place.store().pull(REF);
    expect(sha256(readFileSync(path))).toBe(hub.sha256);
    expect(hub.ranges.at(-1)).toBe("bytes=299999-");
    expect(place.blobs).toEqual([hub.sha256]);
  });

  it("that is interrupted says so and keeps its part", async () => {
    await using hub = await MockHub.open();
    hub.faults.push({ hangAfter: 100_000 });
    using place = new Place(hub);
    const pull = new Pull(place, "pull", REF);
    await until(() => hub.partBytes() === 100_000);
    pull.kill("SIGINT");
    expect(await pull.code).toBe(130);
    expect(pull.err).toContain("sluice: Stopped; pull it again to go on from here\n");
    expect(hub.partBytes()).toBe(100_000);
  });
});

/** Whether this user may mount a small disk. */
function mount(folder: string): boolean {
  mkdirSync(folder, { recursive: true });
  return spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).status === 0;
}

const canMount = await (async () => {
  await using hub = await MockHub.open();
  using place = new Place(hub);
  const folder = join(place.folder, "disk");
  return mount(folder) && spawnSync("umount", [folder]).status === 0;
})();

describe("a disk that is really full", () => {
  it.skipIf(!canMount)("ends a pull, which goes on once there is room (needs mount)", async () => {
    await using hub = await MockHub.open();
    const gate = Promise.withResolvers<void>();
    hub.faults.push({ hangAfter: 100_000, until: gate.promise });
    using place = new Place(hub);
    const disk = join(place.folder, "hub");
    mount(disk);
    try {
      const refusal = refusalOf(place.store().pull(REF));
      await until(() => hub.partBytes() === 100_000);
      const filler = join(disk, "filler");
      const filled = spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=4096"]);
      expect(String(filled.stderr)).toContain("No space left");
      gate.resolve();
      expect(await refusal).toMatch(
        /^Cannot pull "hf:owner\/tiny": the disk is full after 0\.1 MB of 0\.3 MB, free some and/,
      );
      expect(existsSync(join(place.repo, "blobs", hub.sha256))).toBe(false);
      expect(await refusalOf(place.store().pull(REF))).toMatch(
        /^Cannot pull "hf:owner\/tiny": it needs 0\.2 MB more and the disk has 0\.0 MB, free some/,
      );
      spawnSync("rm", [filler]);
      const { path } = await place.store().pull(REF);
      expect(sha256(readFileSync(path))).toBe(hub.sha256);
      expect(hub.ranges.length).toBe(2);
    } finally {
      spawnSync("umount", [disk]);
    }
  });
});
