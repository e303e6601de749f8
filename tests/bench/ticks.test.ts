import { describe, expect, it } from "bun:test";
import { PROMPT_TOKENS } from "../../bench/prompts.ts";
import { loadCore, tick } from "../../bench/ticks.ts";
import { resolveModel } from "../../src/store/reference.ts";

const { path } = resolveModel("smollm2");

describe("tick()", () => {
  it("generates all tokens of all answers, one after the other", async () => {
    using core = await loadCore(path, 2, 64, 3);
    for (const answers of [1, 3]) {
      const { firstMs, lastMs, ...counts } = tick(core, answers, 8);
      expect(counts).toEqual({ promptTokens: answers * PROMPT_TOKENS, tokens: answers * 8 });
      expect(lastMs).toBeGreaterThan(firstMs);
    }
  });
});
