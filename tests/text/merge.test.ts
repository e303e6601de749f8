import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { MergeList, type Pairing } from "../../src/text/merge.ts";

/** Merges letters whose joined text has a rank. */
class Letters implements Pairing {
  readonly parts: string[];
  readonly #ranks: Readonly<Record<string, number>>;

  constructor(text: string, ranks: Readonly<Record<string, number>>) {
    this.parts = [...text];
    this.#ranks = ranks;
  }

  rank(left: number, right: number): number {
    return this.#ranks[this.parts[left]! + this.parts[right]!] ?? -1;
  }

  join(left: number, right: number): void {
    this.parts[left] += this.parts[right]!;
  }
}

function merged(
  text: string,
  ranks: Readonly<Record<string, number>>,
  list = new MergeList(),
): string[] {
  const letters = new Letters(text, ranks);
  list.merge(letters.parts.length, letters);
  const parts: string[] = [];
  for (let i = 0; i >= 0; i = list.next(i)) parts.push(letters.parts[i]!);
  return parts;
}

/** The definition: the best pair first, the leftmost among equals, looked for anew each time. */
function mergedSlowly(text: string, ranks: Readonly<Record<string, number>>): string[] {
  const parts = [...text];
  for (;;) {
    const found = parts.slice(1).map((part, i) => ranks[parts[i]! + part] ?? Infinity);
    const best = Math.min(...found);
    if (best === Infinity) return parts;
    const at = found.indexOf(best);
    parts.splice(at, 2, parts[at]! + parts[at + 1]!);
  }
}

describe("MergeList", () => {
  it("merges the best pair first, the leftmost among equals", () => {
    expect(merged("aaa", { aa: 0 })).toEqual(["aa", "a"]);
    expect(merged("abc", { ab: 1, bc: 0 })).toEqual(["a", "bc"]);
    expect(merged("abcd", { ab: 0, cd: 0, abcd: 5 })).toEqual(["abcd"]);
  });

  it("leaves a list without pairs as it is", () => {
    expect(merged("x", {})).toEqual(["x"]);
    expect(merged("xyz", { ab: 0 })).toEqual(["x", "y", "z"]);
  });

  it("gives what its definition gives", () => {
    const letters = fc.string({
      unit: fc.constantFrom("a", "b", "c"),
      minLength: 1,
      maxLength: 40,
    });
    const pair = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 2, maxLength: 5 });
    const list = new MergeList();
    fc.assert(fc.property(letters, fc.dictionary(pair, fc.nat(6)), (text, ranks) => {
      expect(merged(text, ranks, list)).toEqual(mergedSlowly(text, ranks));
    }));
  });

  it("merges a long list and then a short one", () => {
    const list = new MergeList();
    expect(merged("ab".repeat(10_000), { ab: 0 }, list).length).toBe(10_000);
    expect(merged("abab", { ab: 0, abab: 1 }, list)).toEqual(["abab"]);
  });
});
