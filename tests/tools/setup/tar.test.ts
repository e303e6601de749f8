import { describe, expect, it } from "bun:test";
import { Buffer } from "node:buffer";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { untar, type UntarOptions } from "../../../tools/setup/tar.ts";
import { makeTar, paxRecord } from "./archives.ts";
import { Workplace } from "./workplace.ts";

async function unpack(
  place: Workplace,
  archive: Uint8Array,
  options?: UntarOptions,
  name = "a.tar",
): Promise<string> {
  const path = join(place.folder, name);
  writeFileSync(path, archive);
  const target = join(place.folder, "out");
  await untar(path, target, options);
  return target;
}

describe("untar()", () => {
  it("writes files of every size around a block, plain and gzipped", async () => {
    using place = new Workplace();
    const sizes = [0, 1, 511, 512, 513, 3_000_000];
    const tar = makeTar([
      { name: "folder/", type: "5" },
      ...sizes.map((size) => ({ name: `folder/${size}`, data: Buffer.alloc(size, "ab") })),
    ]);
    for (const [archive, name] of [[tar, "a.tar"], [gzipSync(tar), "a.tgz"]] as const) {
      const folder = await unpack(place, archive, {}, name);
      for (const size of sizes) {
        const data = readFileSync(join(folder, `folder/${size}`));
        expect(data.equals(Buffer.alloc(size, "ab"))).toBe(true);
      }
    }
  });

  it("reads long names, of pax and of GNU", async () => {
    using place = new Workplace();
    const long = `${"d/".repeat(70)}file`;
    const folder = await unpack(
      place,
      makeTar([
        { name: "g", type: "g", data: paxRecord("comment", "of the whole archive") },
        { name: "x", type: "x", data: paxRecord("mtime", "1.5") + paxRecord("path", `p/${long}`) },
        { name: "short", data: "pax" },
        { name: "L", type: "L", data: `g/${long}\0` },
        { name: "short", data: "gnu" },
        { name: "after", data: "own name" },
      ]),
    );
    expect(readFileSync(join(folder, "p", long), "utf8")).toBe("pax");
    expect(readFileSync(join(folder, "g", long), "utf8")).toBe("gnu");
    expect(readFileSync(join(folder, "after"), "utf8")).toBe("own name");
  });

  it("places members where it is told and restores the executable bit", async () => {
    using place = new Workplace();
    const folder = await unpack(
      place,
      makeTar([{ name: "package/run", mode: 0o755 }, { name: "package/../../evil", data: "x" }]),
      { place: (name) => name === "package/run" ? "run" : undefined },
    );
    expect(statSync(join(folder, "run")).mode & 0o111).toBe(0o111);
    expect(existsSync(join(place.folder, "evil"))).toBe(false);
  });

  it.each([["../up"], ["/absolute"], ["a/../../up"]])("refuses the member %s", async (name) => {
    using place = new Workplace();
    const ended = unpack(place, makeTar([{ name, data: "x" }]));
    await expect(ended).rejects.toThrow("would leave the target folder");
    expect(existsSync(join(place.folder, "up"))).toBe(false);
  });

  it.each([["1"], ["2"], ["3"]])("refuses a link or device of type %s", async (type) => {
    using place = new Workplace();
    const ended = unpack(place, makeTar([{ name: "l", type }]));
    await expect(ended).rejects.toThrow("its member l is a link or a device");
  });

  it.each([
    ["in a header", (tar: Buffer) => tar.subarray(0, 300), "a.tar", "cut short"],
    ["in a file", (tar: Buffer) => tar.subarray(0, 1000), "a.tar", "cut short"],
    ["before its end mark", (tar: Buffer) => tar.subarray(0, 2048), "a.tar", "cut short"],
    ["in its gzip", (tar: Buffer) => gzipSync(tar).subarray(0, 60), "a.tgz", "Cannot unpack"],
    ["not at all a gzip", () => Buffer.from("<html></html>"), "a.tgz", "Cannot unpack"],
    ["with a damaged header", (tar: Buffer) => tar.fill(7, 10, 20), "a.tar", "wrong checksum"],
  ])("refuses an archive that is cut %s", async (_where, damage, name, message) => {
    using place = new Workplace();
    const tar = makeTar([{ name: "file", data: Buffer.from("x".repeat(1200)) }]);
    await expect(unpack(place, damage(tar), {}, name)).rejects.toThrow(message);
  });
});
