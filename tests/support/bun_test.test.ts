import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from "bun:test";

// Under Bun these tests say what bun:test does, under Deno that the shim does the same.

const calls: string[] = [];
beforeAll(() => void calls.push("beforeAll of the file"));

describe("hooks", () => {
  beforeAll(async () => {
    await Promise.resolve();
    calls.push("beforeAll");
  }, 5_000);
  beforeEach(() => void calls.push("beforeEach"));
  afterEach(async () => {
    await Promise.resolve();
    calls.push("afterEach");
  });
  afterAll(() => void calls.push("afterAll"));

  it("run before the first test, the async ones to their end", () => {
    expect(calls).toEqual(["beforeAll of the file", "beforeAll", "beforeEach"]);
  });

  describe("of an outer group", () => {
    beforeEach(() => void calls.push("inner beforeEach"));
    it("run before those of the inner one", () => {
      expect(calls.slice(3)).toEqual(["afterEach", "beforeEach", "inner beforeEach"]);
    });
  });
});

test("afterAll runs after the last test of its group", () => {
  expect(calls.slice(-2)).toEqual(["afterEach", "afterAll"]);
});

describe("it.each", () => {
  const seen: unknown[][] = [];

  it.each([["a", 1], ["b", 2]] as const)("spreads a row: %s and %d", (text, number) => {
    seen.push([text.toUpperCase(), number + 1]);
  });
  it.each([{ n: 3 }, { n: 4 }])("passes a record: $n", ({ n }) => {
    seen.push([n]);
  });
  it.each(["x"])("passes a single value: %j", (text) => {
    seen.push([text.length]);
  });
  it("has run once for each row, in order", () => {
    expect(seen).toEqual([["A", 2], ["B", 3], [3], [4], [1]]);
  });
});

describe("describe.each", () => {
  const groups: number[] = [];
  describe.each([1, 2])("group %d", (n) => {
    it("sees its row", () => {
      groups.push(n);
      expect(groups).toEqual(n === 1 ? [1] : [1, 2]);
    });
  });
});

describe("skipIf and if", () => {
  it.skipIf(false)("skipIf needs its condition to skip", () => {
    calls.push("ran skipIf(false)");
  });
  it.if(true)("if needs its condition to run", () => {
    calls.push("ran if(true)");
  });
  it("both have run", () => {
    expect(calls.slice(-2)).toEqual(["ran skipIf(false)", "ran if(true)"]);
  });
});

describe("expect", () => {
  it("compares deeply, undefined fields aside in toEqual and counted in toStrictEqual", () => {
    const withUndefined: { a: number; b?: number | undefined } = { a: 1, b: undefined };
    expect(withUndefined).toEqual({ a: 1 });
    expect(withUndefined).not.toStrictEqual({ a: 1 });
    expect(new Uint8Array([1, 2])).toEqual(new Uint8Array([1, 2]));
    expect(new Set(["a"])).not.toEqual(new Set(["b"]));
  });

  it("throws an error that tells what was expected", () => {
    expect(() => expect(1).toBe(2)).toThrow(/Expected[^]*2[^]*Received[^]*1/);
  });

  it("awaits rejects and resolves", async () => {
    await expect(Promise.reject(new RangeError("far"))).rejects.toThrow(RangeError);
    await expect(Promise.resolve(1)).resolves.toBe(1);
  });

  it("understands asymmetric matchers", () => {
    expect({ id: "abc", n: 2 }).toEqual({
      id: expect.stringMatching(/^[a-c]+$/),
      n: expect.any(Number),
    });
  });
});
