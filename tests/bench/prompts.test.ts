import { describe, expect, it } from "bun:test";
import { prompt } from "../../bench/prompts.ts";

describe("prompt()", () => {
  it("has as many words as it is asked for", () => {
    expect(prompt(512, 7).split(" ")).toHaveLength(512);
  });

  it("differs from every other in its first four words", () => {
    const serials = Array.from({ length: 5000 }, (_, serial) => serial);
    const heads = serials.map((serial) => prompt(16, serial).split(" ").slice(0, 4).join(" "));
    expect(new Set(heads).size).toBe(5000);
  });

  it("is the same text for the same number", () => {
    expect(prompt(64, 3)).toBe(prompt(64, 3));
  });
});
