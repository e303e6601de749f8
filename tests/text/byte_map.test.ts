import { describe, expect, it } from "bun:test";
import { ByteMap } from "../../src/text/byte_map.ts";
import { metadataOf } from "./vocabs.ts";

const utf8 = new TextEncoder();
const stringsOf = (tokens: readonly string[]) =>
  metadataOf({ tokens }).strings("tokenizer.ggml.tokens");

function find(map: ByteMap, text: string): number {
  const bytes = utf8.encode(`<${text}>`);
  return map.get(bytes, 1, bytes.length - 1);
}

describe("ByteMap", () => {
  it("finds each of many strings and nothing else", () => {
    const tokens = Array.from({ length: 20_000 }, (_, i) => `${i * 7}\u00e9`);
    const map = new ByteMap(stringsOf(tokens));
    expect(tokens.map((text) => find(map, text))).toEqual(tokens.map((_, i) => i));
    expect(tokens.filter((text) => find(map, `${text} `) !== -1)).toEqual([]);
  });

  it("finds the empty string", () => {
    const map = new ByteMap(stringsOf(["a", ""]));
    expect([find(map, ""), find(map, "a"), find(map, "b")]).toEqual([1, 0, -1]);
  });

  it("takes the first of equal strings", () => {
    expect(find(new ByteMap(stringsOf(["a", "b", "b"])), "b")).toBe(1);
  });

  it("leaves out what it is told to", () => {
    const map = new ByteMap(stringsOf(["a", "b", "b"]), (place) => place !== 1);
    expect([find(map, "a"), find(map, "b")]).toEqual([0, 2]);
  });

  it("thinks of a space where a gap is", () => {
    const map = new ByteMap(stringsOf(["ab c", "abc", "a bc"]));
    const bytes = utf8.encode("abc");
    expect([1, 2, 3].map((gap) => map.get(bytes, 0, 3, gap))).toEqual([2, 0, 1]);
  });
});
