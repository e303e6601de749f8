import { describe, expect, it } from "bun:test";
import { Buffer } from "node:buffer";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unzip, type UnzipOptions } from "../../../tools/setup/zip.ts";
import { makeZip, type Member } from "./archives.ts";
import { Workplace } from "./workplace.ts";

/** Larger than what is unpacked in one call, and not all the same. */
const large = Buffer.alloc(5_000_000, "0123456789abcdef\n");

async function unpack(
  place: Workplace,
  archive: Uint8Array,
  options?: UnzipOptions,
): Promise<string> {
  const path = join(place.folder, "a.whl");
  writeFileSync(path, archive);
  const target = join(place.folder, "out");
  await unzip(path, target, options);
  return target;
}

describe("unzip()", () => {
  it("writes stored and deflated members, empty ones and large ones", async () => {
    using place = new Workplace();
    const members: Member[] = [
      { name: "a/stored.txt", data: "stored", stored: true },
      { name: "a/b/deflated.txt", data: "deflated ".repeat(100) },
      { name: "empty" },
      { name: "folder/" },
      { name: "large.bin", data: large },
      { name: "large-stored.bin", data: large, stored: true },
    ];
    const folder = await unpack(place, makeZip(members));
    for (const { name, data = "" } of members.filter(({ name }) => !name.endsWith("/"))) {
      expect(readFileSync(join(folder, name)).equals(Buffer.from(data))).toBe(true);
    }
  });

  it("restores the executable bit and only that", async () => {
    using place = new Workplace();
    const folder = await unpack(
      place,
      makeZip([{ name: "zig", mode: 0o104755 }, { name: "readme", mode: 0o100644 }]),
    );
    expect(statSync(join(folder, "zig")).mode & 0o7777).toBe(0o755);
    expect(statSync(join(folder, "readme")).mode & 0o111).toBe(0);
  });

  it("places members where it is told and leaves out the rest", async () => {
    using place = new Workplace();
    const archive = makeZip([{ name: "x/keep", data: "k" }, { name: "y/drop", data: "d" }]);
    const folder = await unpack(place, archive, {
      place: (name) => name.startsWith("x/") ? name.slice(2) : undefined,
    });
    expect(existsSync(join(folder, "keep"))).toBe(true);
    expect(existsSync(join(folder, "y"))).toBe(false);
  });

  it("tells the bytes done and in all", async () => {
    using place = new Workplace();
    const told: number[][] = [];
    await unpack(place, makeZip([{ name: "large", data: large }, { name: "b", data: "xy" }]), {
      onBytes: (done, total) => told.push([done, total]),
    });
    expect(told.at(-1)).toEqual([large.length + 2, large.length + 2]);
  });

  it.each([
    ["../up"],
    ["a/../../up"],
    ["/etc/absolute"],
    ["a//b"],
    ["a\\..\\b"],
    ["C:/windows"],
    ["."],
  ])("refuses the member %s and writes nothing", async (name) => {
    using place = new Workplace();
    const archive = makeZip([{ name: "first" }, { name, data: "x" }]);
    await expect(unpack(place, archive)).rejects.toThrow("would leave the target folder");
    expect(existsSync(join(place.folder, "up"))).toBe(false);
    expect(existsSync(join(place.folder, "out"))).toBe(false);
  });

  it("refuses links", async () => {
    using place = new Workplace();
    const archive = makeZip([{ name: "link", data: "/etc/passwd", mode: 0o120777 }]);
    await expect(unpack(place, archive)).rejects.toThrow("its member link is a link");
  });

  it.each([
    ["cut short", (zip: Buffer) => zip.subarray(0, zip.length - 30), "cut short or no ZIP"],
    ["empty", () => Buffer.alloc(0), "cut short or no ZIP"],
    ["text", () => Buffer.from("<html>not found</html>".repeat(9)), "cut short or no ZIP"],
    ["missing its head", (zip: Buffer) => zip.subarray(40), "directory lies past"],
  ])("refuses an archive that is %s", async (_what, damage, message) => {
    using place = new Workplace();
    const zip = makeZip([{ name: "a", data: "some content" }, { name: "b", data: large }]);
    await expect(unpack(place, damage(zip))).rejects.toThrow(message);
  });

  it.each([["small"], ["large"]])("refuses a wrong checksum of a %s member", async (size) => {
    using place = new Workplace();
    const data = size === "large" ? large : "small";
    const archive = makeZip([{ name: "a", data, crc: 1 }]);
    await expect(unpack(place, archive)).rejects.toThrow("the content of a is damaged");
  });

  it("stops when aborted", async () => {
    using place = new Workplace();
    const members = Array.from({ length: 9 }, (_, i) => ({ name: `f${i}`, data: large }));
    const stopper = new AbortController();
    stopper.abort(new Error("enough"));
    const ended = unpack(place, makeZip(members), { signal: stopper.signal });
    await expect(ended).rejects.toThrow("enough");
  });
});
