import { describe, expect, it } from "bun:test";
import { HeaderCursor } from "../../src/gguf/cursor.ts";

/** A cursor over bytes that tells what was asked for. */
function cursorOver(file: Uint8Array, headerBytes = 1000): [HeaderCursor, number[]] {
  const asked: number[] = [];
  const read = (length: number): Uint8Array => {
    asked.push(length);
    return file.slice(0, length);
  };
  return [new HeaderCursor({ file: "x", fileSize: file.length, headerBytes, read }, 8), asked];
}

describe("HeaderCursor", () => {
  it("reads more of the file when it gets there, twice as much each time", () => {
    const [cursor, asked] = cursorOver(Uint8Array.from({ length: 100 }, (_, i) => i));
    expect([cursor.u64("a"), cursor.u8("b"), cursor.u32("c")]).toEqual([
      0x07060504 * 2 ** 32 + 0x03020100,
      8,
      0x0c0b0a09,
    ]);
    cursor.need(60, "d");
    expect(asked).toEqual([8, 16, 73]);
    expect(cursor.left).toBe(87);
  });

  it("reads 64 bits beyond 2 ** 53 as a number above every limit", () => {
    const [cursor] = cursorOver(new Uint8Array(8).fill(0xff));
    expect(cursor.u64("a")).toBe(2 ** 64);
  });

  it("names what it was about to read past the end", () => {
    const [cursor] = cursorOver(new Uint8Array(10));
    cursor.u64("a");
    expect(() => cursor.u32("the version", "k")).toThrow(
      'Cannot read "x": the version ends at byte 12 and the file has 10, it is cut off or damaged',
    );
  });

  it("never reads past the limit of a header", () => {
    const [cursor, asked] = cursorOver(new Uint8Array(100), 20);
    cursor.need(20, "a");
    expect(() => cursor.need(21, "b")).toThrow("expected a header of at most 20 bytes");
    expect(Math.max(...asked)).toBe(20);
  });

  it("strings() finds the places of strings that are not read yet", () => {
    const lengths = [0, 3, 40, 1];
    const bytes = lengths.flatMap((n) => [n, ...new Array<number>(7 + n).fill(0)]);
    const [cursor] = cursorOver(Uint8Array.from(bytes));
    expect([...cursor.strings(4, 40, "a", "k")]).toEqual([0, 8, 19, 67, 76]);
    expect(cursor.left).toBe(0);
  });
});
