import { describe, expect, test } from "bun:test";
import { isAfter, placeOf } from "../../src/client/place.ts";

describe("placeOf()", () => {
  test("reads the id of a message", () => {
    expect(placeOf("a:b:12")).toEqual({ stream: "a:b", seq: 12, part: Infinity });
    expect(placeOf("a:12.3")).toEqual({ stream: "a", seq: 12, part: 3 });
  });

  test.each(["", "12", "a:", "a:x", ":3", "a:1.", "a:-1"])("takes %p for none", (id) => {
    expect(placeOf(id)).toBeUndefined();
  });

  test("orders the parts of an event before the whole of it", () => {
    const ids = ["a:1", "a:2.1", "a:2.2", "a:2.10", "a:2", "a:10"];
    const places = ids.map((id) => placeOf(id)!);
    for (const [i, place] of places.entries()) {
      expect(places.map((other) => isAfter(place, other))).toEqual(places.map((_, k) => i > k));
    }
  });
});
