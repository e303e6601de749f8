import { describe, expect, it } from "bun:test";
import { type Piece, readAnswer } from "../../bench/http_contender.ts";
import { decodeRate, together } from "../../bench/contender.ts";

const encoder = new TextEncoder();
const piece = (atMs: number, ...chunks: unknown[]): Piece => ({
  atMs,
  bytes: encoder.encode(chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("")),
});
const text = (text: string) => ({ choices: [{ text }] });
const usage = { choices: [], usage: { prompt_tokens: 9, completion_tokens: 3 } };

describe("readAnswer()", () => {
  it("takes the times of the first and the last text, and the counts of the server", () => {
    const pieces = [
      piece(5, text("")),
      piece(20, text("a")),
      piece(40, text("b")),
      piece(50, usage),
    ];
    expect(readAnswer(pieces)).toEqual({ promptTokens: 9, tokens: 3, firstMs: 20, lastMs: 40 });
  });

  it("reads the deltas of a chat", () => {
    const delta = (delta: unknown) => ({ choices: [{ delta }] });
    const pieces = [
      piece(1, delta({ role: "assistant", content: "" })),
      piece(8, delta({ content: "a" })),
    ];
    expect(readAnswer(pieces)).toMatchObject({ tokens: 1, firstMs: 8, lastMs: 8 });
  });

  it("counts texts where the answer was cut off", () => {
    const pieces = [piece(20, text("a")), piece(30, text("b")), piece(60, text("c"))];
    const answer = readAnswer(pieces);
    expect(answer).toEqual({ promptTokens: 0, tokens: 3, firstMs: 20, lastMs: 60 });
    expect(decodeRate(answer)).toBe(50);
  });

  it("reads chunks that were torn apart and chunks that came together", () => {
    const { bytes } = piece(0, text("a"), text("b"));
    const pieces = [{ atMs: 3, bytes: bytes.slice(0, 10) }, { atMs: 4, bytes: bytes.slice(10) }];
    expect(readAnswer(pieces)).toMatchObject({ tokens: 2, firstMs: 4, lastMs: 4 });
  });

  it("throws what the stream says has failed", () => {
    expect(() => readAnswer([piece(1, { error: { message: "out of memory" } })])).toThrow(
      "out of memory",
    );
  });
});

describe("together()", () => {
  it("counts all tokens from the first of any answer to the last of any", () => {
    const answers = [
      { promptTokens: 5, tokens: 11, firstMs: 20, lastMs: 90 },
      { promptTokens: 7, tokens: 10, firstMs: 30, lastMs: 120 },
    ];
    const all = together(answers);
    expect(all).toEqual({ promptTokens: 12, tokens: 21, firstMs: 20, lastMs: 120 });
    expect(decodeRate(all)).toBe(200);
    expect(together([answers[0]!])).toEqual(answers[0]!);
  });
});
