import { describe, expect, it } from "bun:test";
import { withTileBarrier } from "../../bench/peers.ts";

describe("withTileBarrier()", () => {
  it("puts the barrier between what is written and what reads it", () => {
    const mended = withTileBarrier("tc.rows[7] = 16;\n    _tile_loadconfig(&tc);\n");
    expect(mended).toBe(
      'tc.rows[7] = 16;\n    __asm__ volatile("" : : "r"(&tc) : "memory");\n    _tile_loadconfig(&tc);\n',
    );
  });

  it.each([["missing", ""], ["twice there", "_tile_loadconfig(&tc);_tile_loadconfig(&tc);"]])(
    "refuses sources in which the place is %s",
    (_case, source) => {
      expect(() => withTileBarrier(source)).toThrow("expected once");
    },
  );
});
