import { afterAll, describe, expect, it } from "bun:test";
import process from "node:process";
import type { SymbolTable } from "../../src/runtime/ffi.ts";
import { loadFfi } from "../../src/runtime/mod.ts";

/** The C library, which every machine has: what is tested is the seam, not our own functions. */
const LIBC = process.platform === "darwin" ? "libSystem.B.dylib" : "libc.so.6";

const SYMBOLS = {
  abs: { args: ["i32"], returns: "i32" },
  llabs: { args: ["i64"], returns: "i64" },
  atof: { args: ["buffer"], returns: "f64" },
  memset: { args: ["buffer", "i32", "i64"], returns: "pointer" },
  memchr: { args: ["buffer", "i32", "i64"], returns: "pointer" },
  strlen: { args: ["pointer"], returns: "i64" },
  free: { args: ["pointer"], returns: "void" },
} as const satisfies SymbolTable;

const ffi = await loadFfi();
const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(`${text}\0`);

describe("loadFfi()", () => {
  it("loads the seam of the runtime that runs", () => {
    expect(ffi.runtime).toBe("Deno" in globalThis ? "deno" : "bun");
  });
});

describe("open()", () => {
  const library = ffi.open(LIBC, SYMBOLS);
  afterAll(() => library.close());

  it("passes integers, 64-bit ones as bigint, and floats", () => {
    const { abs, llabs, atof } = library.symbols;
    expect(abs(-7)).toBe(7);
    expect(llabs(-(2n ** 60n))).toBe(2n ** 60n);
    expect(llabs(-5n)).toBe(5n);
    expect(atof(bytes("-0.125"))).toBe(-0.125);
  });

  it("lends the memory of a view, from where the view begins", () => {
    const memory = new Uint8Array(8);
    library.symbols.memset(memory.subarray(2, 6), 0xab, 3n);
    expect([...memory]).toEqual([0, 0, 0xab, 0xab, 0xab, 0, 0, 0]);
  });

  it("hands pointers on without looking inside, null included", () => {
    const { memchr, strlen, free } = library.symbols;
    const text = bytes("one two");
    const two = memchr(text, "t".charCodeAt(0), BigInt(text.length));
    expect(strlen(two)).toBe(3n);
    expect(memchr(text, "x".charCodeAt(0), BigInt(text.length))).toBeNull();
    expect(free(null)).toBeUndefined();
  });

  it("throws where the library is missing", () => {
    expect(() => ffi.open("/nowhere/libnothing.so", SYMBOLS)).toThrow();
  });

  it("throws where a symbol is missing", () => {
    const missing = { sluice_is_not_here: { args: [], returns: "void" } } as const;
    expect(() => ffi.open(LIBC, missing)).toThrow("sluice_is_not_here");
  });
});
