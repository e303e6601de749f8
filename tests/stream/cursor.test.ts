/** Cursors: what the id of a message says, and what is no cursor. */
import { describe, expect, it } from "bun:test";
import { messageId, parseCursor, streamOf } from "../../src/stream/cursor.ts";

const ID = "0123456789abcdef0123456789abcdef";

describe("messageId()", () => {
  it("stands for the whole event on its last message, and for a part of it before", () => {
    expect([1, 2, 3].map((part) => messageId(ID, 7, part, 3))).toEqual([
      `${ID}:7.1`,
      `${ID}:7.2`,
      `${ID}:7`,
    ]);
  });

  it("is read again by parseCursor()", () => {
    expect(parseCursor(messageId(ID, 7, 1, 3), ID)).toEqual({ seq: 7, part: 1 });
    expect(parseCursor(messageId(ID, 7, 3, 3), ID)).toEqual({ seq: 7 });
  });
});

describe("parseCursor()", () => {
  it("takes a bare seq", () => expect(parseCursor("12", ID)).toEqual({ seq: 12 }));

  const bad = ["", "x", "-1", "1e3", "1.", ".1", "9007199254740992", `${ID}:`, `${ID}:-1`, "1:2"];
  it.each([...bad, `${"f".repeat(32)}:1`])("refuses %j as malformed", (text) => {
    expect(() => parseCursor(text, ID)).toThrow("is not one of its own");
  });
});

describe("streamOf()", () => {
  it("names the stream of a cursor of ours, and none of a bare or foreign one", () => {
    expect(streamOf(`${ID}:4.1`)).toBe(ID);
    for (const text of ["4", "abc:4", ""]) expect(streamOf(text)).toBe(undefined);
  });
});
