import { describe, expect, it } from "bun:test";
import { GgufError } from "../../src/errors.ts";
import type { Metadata } from "../../src/gguf/metadata.ts";
import { parseGguf } from "../../src/gguf/reader.ts";
import {
  bool,
  f32,
  f32s,
  type GgufValue,
  i32s,
  str,
  strings,
  u32,
  writeGguf,
} from "../support/gguf_writer.ts";

function metadata(...pairs: [string, GgufValue][]): Metadata {
  const { bytes } = writeGguf({ metadata: pairs });
  return parseGguf(bytes, bytes.length, "x.gguf").metadata;
}

describe("Metadata", () => {
  it.each(
    [
      ["u8", 255],
      ["i8", 127],
      ["u16", 65_535],
      ["i16", 32_767],
      ["u32", 4_294_967_295],
      ["i32", 2_147_483_647],
    ] as const,
  )("u32() takes an %s", (type, value) => {
    expect(metadata(["k", { type, value }]).u32("k")).toBe(value);
  });

  it.each(["u64", "i64"] as const)("u32() takes an %s in range", (type) => {
    expect(metadata(["k", { type, value: 4_294_967_295n }]).u32("k")).toBe(4_294_967_295);
    expect(() => metadata(["k", { type, value: 4_294_967_296n }]).u32("k"))
      .toThrow('key "k" is 4294967296, expected an integer from 0 to 4294967295');
  });

  it("u32() refuses a negative number", () => {
    expect(() => metadata(["k", { type: "i32", value: -1 }]).u32("k")).toThrow('key "k" is -1');
  });

  it("f32() takes floats of both sizes", () => {
    const m = metadata(["a", f32(0.5)], ["b", { type: "f64", value: 1e-300 }]);
    expect([m.f32("a"), m.f32("b")]).toEqual([0.5, 1e-300]);
  });

  it.each([NaN, Infinity, -Infinity])("f32() refuses %d", (value) => {
    expect(() => metadata(["k", f32(value)]).f32("k")).toThrow("expected a finite number");
  });

  it("bool() and str() give the value", () => {
    const m = metadata(["t", bool(true)], ["f", bool(false)], ["s", str("\ufeffd\u00e9j\u00e0")]);
    expect([m.bool("t"), m.bool("f"), m.str("s")]).toEqual([true, false, "\ufeffd\u00e9j\u00e0"]);
  });

  it("strings() decodes one string at a time", () => {
    const read = metadata(["a", strings(["", "\u4f60\u597d", "x"])]).strings("a");
    expect(read.length).toBe(3);
    expect([read.at(0), read.at(1), read.at(2)]).toEqual(["", "\u4f60\u597d", "x"]);
    expect([...read.bytes(2)]).toEqual([0x78]);
    expect(read.source.subarray(read.start(1), read.end(1))).toEqual(read.bytes(1));
  });

  it("i32s() and f32s() copy arrays", () => {
    const m = metadata(["odd", str("x")], ["i", i32s([-1, 7])], ["f", f32s([0.5, -2])]);
    expect([...m.i32s("i")]).toEqual([-1, 7]);
    expect([...m.f32s("f")]).toEqual([0.5, -2]);
    expect([...m.f32s("i")]).toEqual([-1, 7]);
  });

  it("gives the fallback only where the key is absent", () => {
    const m = metadata(["k", u32(0)], ["s", str("")]);
    expect([m.u32("k", 5), m.u32("no", 5), m.f32("no", 0.5)]).toEqual([0, 5, 0.5]);
    expect([m.bool("no", true), m.str("s", "x"), m.str("no", "x")]).toEqual([true, "", "x"]);
    expect([m.has("k"), m.has("no")]).toEqual([true, false]);
  });

  it("names file, key and expectation of a key that is missing", () => {
    expect(() => metadata().u32("llama.block_count")).toThrow(
      'Cannot read "x.gguf": key "llama.block_count" is missing, expected an unsigned integer',
    );
    expect(() => metadata().strings("no")).toThrow("is missing, expected an array of strings");
  });

  it.each([
    ["u32", (m: Metadata) => m.u32("s", 1), "has the type str, expected an unsigned integer"],
    ["f32", (m: Metadata) => m.f32("u"), "has the type u32, expected a float"],
    ["bool", (m: Metadata) => m.bool("u"), "has the type u32, expected a boolean"],
    ["str", (m: Metadata) => m.str("u"), "has the type u32, expected a string"],
    ["strings", (m: Metadata) => m.strings("s"), "has the type str, expected an array of strings"],
    ["strings", (m: Metadata) => m.strings("i"), "has the type arr[i32], expected an array"],
    ["i32s", (m: Metadata) => m.i32s("f"), "has the type arr[f32], expected an array of 32-bit"],
    ["f32s", (m: Metadata) => m.f32s("a"), "has the type arr[str], expected an array of 32-bit"],
  ])("%s() refuses a value of another type", (_name, read, message) => {
    const m = metadata(
      ["s", str("x")],
      ["u", u32(1)],
      ["i", i32s([1])],
      ["f", f32s([1])],
      ["a", strings(["x"])],
    );
    expect(() => read(m)).toThrow(GgufError);
    expect(() => read(m)).toThrow(message);
  });

  it("tells the offset of the value", () => {
    const { bytes } = writeGguf({ metadata: [["k", str("value")]] });
    const m = parseGguf(bytes, bytes.length, "x.gguf").metadata;
    const errorOf = (): unknown => {
      try {
        return m.u32("k");
      } catch (error) {
        return error;
      }
    };
    expect(errorOf()).toMatchObject({ file: "x.gguf", key: "k", offset: bytes.length - 5 });
  });

  it("raw() gives the bytes of a pair", () => {
    const m = metadata(["a", u32(1)], ["bc", str("x")]);
    const [first, second] = [...m.entries()];
    expect([...m.raw(first!)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 97, 4, 0, 0, 0, 1, 0, 0, 0]);
    expect(m.raw(second!).length).toBe(8 + 2 + 4 + 8 + 1);
    expect(second).toMatchObject({ key: "bc", type: "str", count: 1 });
  });
});
