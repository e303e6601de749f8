import { describe, expect, it } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));

/** The rows of all tables: what stands in the first column and in the last. */
function rows(): { numbers: string; tests: string }[] {
  const text = readFileSync(`${root}docs/seeds.md`, "utf8");
  const lines = text.split("\n").filter((line) => /^\| *[(0-9]/.test(line));
  return lines.map((line) => {
    const cells = line.split("|").map((cell) => cell.trim());
    return { numbers: cells[1]!, tests: cells.at(-2)! };
  });
}

/** `3-6` and `8, 9` as the numbers that they stand for. */
function numbersOf(cell: string): number[] {
  return cell.split(",").flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number);
    if (Number.isNaN(first)) return [];
    return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
  });
}

describe("docs/seeds.md", () => {
  it("has each of the 85 promises once", () => {
    const numbers = rows().flatMap((row) => numbersOf(row.numbers)).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 85 }, (_, i) => i + 1));
  });

  it("names tests that exist for each of them", () => {
    const missing = rows().flatMap(({ numbers, tests }) => {
      const files = [...tests.matchAll(/`([\w/]+\.test\.ts)`/g)].map(([, file]) => file!);
      if (files.length === 0 && !/`zig build`|the same/.test(tests)) return [`${numbers}: no test`];
      return files.filter((file) => !existsSync(`${root}tests/${file}`)).map((file) =>
        `${numbers}: ${file}`
      );
    });
    expect(missing).toEqual([]);
  });
});
