import { describe, expect, it } from "bun:test";
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { onPath } from "../../../tools/setup/command.ts";
import { fileHash, listFiles, sha256, treeHash } from "../../../tools/setup/hash.ts";
import { Workplace } from "./workplace.ts";

function tree(): Workplace {
  const place = new Workplace();
  place.write("b.c", "int b;\n");
  place.write("a/x.h", "");
  place.write("a-b/y.h", "y");
  return place;
}

describe("fileHash()", () => {
  it("is the hash of the content, in the notation asked for", async () => {
    using place = new Workplace();
    const path = join(place.folder, "f");
    writeFileSync(path, "abc");
    expect(await fileHash(path)).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    expect(await fileHash(path, "sha512", "base64")).toBe(
      "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==",
    );
  });
});

describe("treeHash()", () => {
  it("lists files by code unit, with slashes", () => {
    using place = tree();
    expect(listFiles(place.root)).toEqual(["a-b/y.h", "a/x.h", "b.c"]);
  });

  it("is the hash of what sha256sum prints", () => {
    using place = tree();
    const lines = [["y", "a-b/y.h"], ["", "a/x.h"], ["int b;\n", "b.c"]]
      .map(([text = "", name]) => `${sha256(text)}  ${name}\n`);
    expect(treeHash(place.root)).toBe(sha256(lines.join("")));
  });

  it.skipIf(onPath("sha256sum") === undefined)(
    "is what its documentation says (needs sha256sum)",
    () => {
      const path = process.env.PATH ?? "";
      using place = tree();
      const script = "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum";
      const env = { ...process.env, PATH: path };
      const printed = execFileSync("/bin/sh", ["-c", script], { cwd: place.root, env });
      expect(printed.toString().split(" ")[0]).toBe(treeHash(place.root));
    },
  );

  it("changes with a content, a name, a file more and a file less", () => {
    using place = tree();
    const hashes = [treeHash(place.root)];
    place.write("b.c", "int c;\n");
    hashes.push(treeHash(place.root));
    place.write("c.c", "");
    hashes.push(treeHash(place.root));
    rmSync(join(place.root, "a/x.h"));
    place.write("a/z.h", "");
    hashes.push(treeHash(place.root));
    expect(new Set(hashes).size).toBe(4);
  });
});
