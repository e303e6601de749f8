import { describe, expect, it } from "bun:test";
import { duration, gauge, size } from "../../src/store/amounts.ts";

describe("size()", () => {
  it("writes bytes for people", () => {
    expect(size(101_011_302)).toBe("101.0 MB");
    expect(size(1_500_000_000)).toBe("1.5 GB");
  });
});

describe("duration()", () => {
  it("writes milliseconds for people", () => {
    expect(duration(47_600)).toBe("48 s");
    expect(duration(125_000)).toBe("2 min 5 s");
  });
});

describe("gauge()", () => {
  it.each([
    [0, 8, "[........................]   0 %"],
    [1, 8, "[###.....................]  12 %"],
    [8, 8, "[########################] 100 %"],
    [9, 8, "[########################] 100 %"],
    [0, 0, "[########################] 100 %"],
  ])("draws %d of %d", (done, total, text) => {
    expect(gauge(done, total)).toBe(text);
  });
});
