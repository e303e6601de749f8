import { describe, expect, test } from "bun:test";
import { Sequence } from "../../src/core/sequence.ts";
import type { SubmitMessage } from "../../src/engine/protocol.ts";

function sequence(more: Partial<SubmitMessage> = {}): Sequence {
  return new Sequence({
    type: "submit",
    id: 1,
    tokens: Int32Array.of(5, 6, 7),
    n_sampled: 0,
    maxTokens: 10,
    endIds: [2],
    sampling: new Float64Array(8),
    repeatLastN: 2,
    credit: 1,
    ...more,
  });
}

describe("Sequence", () => {
  test("prefills until its prompt is in the cache, then runs while it has credit", () => {
    const s = sequence();
    expect([s.prefilling, s.runnable, s.n_sampled]).toEqual([true, false, 0]);
    s.n_past = 3;
    expect([s.prefilling, s.runnable]).toEqual([false, true]);
    s.tokens.push(8);
    expect([s.n_sampled, s.runnable]).toEqual([1, false]);
  });

  test("has left what is not in the cache: the rest of its prompt, then the one that it decodes", () => {
    const s = sequence();
    expect(s.n_left).toBe(3);
    s.n_past = 2;
    expect(s.n_left).toBe(1);
    s.n_past = 3;
    s.tokens.push(8);
    expect(s.n_left).toBe(1);
  });

  test("history() gives the last tokens, prompt included, all of them for -1 and none for 0", () => {
    expect([...sequence().history()]).toEqual([6, 7]);
    expect([...sequence({ repeatLastN: 64 }).history()]).toEqual([5, 6, 7]);
    expect([...sequence({ repeatLastN: -1 }).history()]).toEqual([5, 6, 7]);
    expect([...sequence({ repeatLastN: 0 }).history()]).toEqual([]);
  });
});
