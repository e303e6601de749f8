import { describe, expect, it } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { entryCount, folderBytes, Progress, watchGrowth } from "../../../tools/setup/progress.ts";
import { noBar, Workplace, Written } from "./workplace.ts";

describe("Progress", () => {
  it("prints a line for each unfinished step without a terminal", () => {
    let nowMs = 0;
    const output = new Written();
    using progress = new Progress(output, () => nowMs);
    const zig = progress.bar("zig");
    progress.bar("library");
    const done = progress.bar("model");
    zig.phase("fetching", 100_000_000);
    zig.set(25_000_000);
    done.finish();
    nowMs = 10_000;
    progress.draw();
    expect(output.text).toBe(
      "  zig      [######..................]  25 %  fetching 25.0 MB of 100.0 MB, 10 s\n" +
        "  library  waiting\n",
    );
  });

  it("draws over its last drawing on a terminal, within the width", () => {
    const output = new Written(true);
    const progress = new Progress(
      { isTTY: true, columns: 20, write: (t) => output.write(t) },
      () => 0,
    );
    progress.bar("zig").phase("unpacking a long name of a thing");
    progress.bar("ggml").finish();
    progress.draw();
    progress[Symbol.dispose]();
    const lines = "\x1b[2K  zig   unpacking a\n\x1b[2K  ggml  done\n";
    expect(output.text).toBe(`${lines}\x1b[2A${lines}`);
  });

  it("counts what is built, keeps within the total, and takes a total that comes late", () => {
    const output = new Written();
    using progress = new Progress(output, () => 0);
    const bar = progress.bar("library");
    bar.phase("building", 126, "objects");
    bar.set(200);
    progress.draw();
    expect(output.text).toContain("] 100 %  building 126 objects of 126 objects");
    bar.phase("unpacking");
    bar.set(5_000_000);
    progress.draw();
    expect(output.text).toContain("  library  unpacking 5.0 MB, 0 s\n");
    bar.set(5_000_000, 10_000_000);
    progress.draw();
    expect(output.text).toContain("]  50 %  unpacking 5.0 MB of 10.0 MB");
  });
});

describe("watchGrowth()", () => {
  it("sets the bar to what was added since it began", async () => {
    let bytes = 500;
    const told = Promise.withResolvers<number>();
    const bar = { ...noBar, set: (done: number) => done > 0 && told.resolve(done) };
    using _ = watchGrowth(() => Promise.resolve(bytes += 7), bar);
    expect(await told.promise).toBe(7);
  });
});

describe("folderBytes() and entryCount()", () => {
  it("measure folders, also those that are not there", async () => {
    using place = new Workplace();
    const folder = join(place.folder, "watched");
    expect(await folderBytes(folder)).toBe(0);
    mkdirSync(join(folder, "deep"), { recursive: true });
    writeFileSync(join(folder, "a"), "12345");
    writeFileSync(join(folder, "deep", "b"), "123");
    expect(await folderBytes(folder)).toBe(8);
    expect(await entryCount([folder, join(folder, "deep"), join(folder, "none")])).toBe(3);
  });
});
