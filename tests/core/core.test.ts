import { describe, expect, test } from "bun:test";
import { Core } from "../../src/core/core.ts";
import type { CoreOptions } from "../../src/engine/protocol.ts";
import { samplingRecord } from "../../src/engine/sampling.ts";
import { resolveModel } from "../../src/store/reference.ts";

const OPTIONS: Omit<CoreOptions, "path"> = {
  n_threads: 2,
  n_ctx: 256,
  n_streams: 3,
  cacheType: "f16",
  flashAttention: true,
  fused: true,
  repack: true,
};

/** Which sequences sample a token in each of three ticks, when three with short prompts arrive. */
async function ticks(options: Partial<CoreOptions>): Promise<number[][]> {
  const { path } = resolveModel("smollm2");
  using core = await Core.load({ ...OPTIONS, path, ...options }, new Int32Array(3));
  for (const id of [1, 2, 3]) {
    core.submit({
      type: "submit",
      id,
      tokens: Int32Array.of(504, 3575, 282),
      n_sampled: 0,
      maxTokens: 8,
      endIds: [],
      sampling: samplingRecord({ temperature: 0 }),
      repeatLastN: 0,
      credit: 8,
      tellsPrefill: true,
    });
  }
  core.admit();
  return Array.from({ length: 3 }, () => {
    const sampled = core.tick()!.map(({ id }) => id);
    // None has a piece that is not its last.
    expect(core.prefilled).toBeUndefined();
    return sampled;
  });
}

describe("Core", () => {
  test("computes several short prompts in one pass", async () => {
    expect(await ticks({})).toEqual([[1, 2, 3], [1, 2, 3], [1, 2, 3]]);
  }, 60_000);

  test(
    "gives each a pass of its own where ggml attends, which copies the cells of each",
    async () => {
      expect(await ticks({ flashAttention: false })).toEqual([[1], [1, 2], [1, 2, 3]]);
    },
    60_000,
  );
});
