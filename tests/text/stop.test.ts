import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { StopMatcher } from "../../src/text/stop.ts";

/** The text before the stop string that ends first, by looking at every place. */
function cut(text: string, stops: readonly string[]): { text: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const begins = stops.filter((stop) => stop !== "" && text.slice(0, end).endsWith(stop))
      .map((stop) => end - stop.length);
    if (begins.length > 0) return { text: text.slice(0, Math.min(...begins)), stopped: true };
  }
  return { text, stopped: false };
}

function run(
  pieces: readonly string[],
  stops: readonly string[],
): { text: string; stopped: boolean } {
  const matcher = new StopMatcher(stops);
  let text = "";
  for (const piece of pieces) {
    const result = matcher.push(piece);
    text += result.text;
    if (result.stopped) return { text, stopped: true };
  }
  return { text: text + matcher.flush(), stopped: false };
}

describe("StopMatcher", () => {
  it("lets text go at once where no stop string begins", () => {
    const matcher = new StopMatcher(["###"]);
    expect(matcher.push("Hello ")).toEqual({ text: "Hello ", stopped: false });
    expect(matcher.pending).toBe(false);
  });

  it("holds back what may begin a stop string, and lets it go when it does not", () => {
    const matcher = new StopMatcher(["\n\nUser:"]);
    expect(matcher.push("one\n")).toEqual({ text: "one", stopped: false });
    expect(matcher.pending).toBe(true);
    expect(matcher.push("\nUs")).toEqual({ text: "", stopped: false });
    expect(matcher.push("e it")).toEqual({ text: "\n\nUse it", stopped: false });
    expect(matcher.pending).toBe(false);
  });

  it("stops at a stop string that spans pieces", () => {
    const matcher = new StopMatcher(["END"]);
    expect(matcher.push("a E").text).toBe("a ");
    expect(matcher.push("N")).toEqual({ text: "", stopped: false });
    expect(matcher.push("D and more")).toEqual({ text: "", stopped: true });
    expect(matcher.push("later")).toEqual({ text: "", stopped: true });
    expect([matcher.flush(), matcher.pending]).toEqual(["", false]);
  });

  it("gives back what was held at the end", () => {
    const matcher = new StopMatcher(["END"]);
    expect(matcher.push("the EN").text).toBe("the ");
    expect(matcher.flush()).toBe("EN");
    expect(matcher.flush()).toBe("");
  });

  it("finds a stop string that begins inside another try of itself", () => {
    expect(run(["aab", "aaab", "x"], ["aaab"])).toEqual({ text: "aab", stopped: true });
  });

  it("takes the stop string that ends first, and of those the longest", () => {
    expect(run(["xabcd"], ["abcd", "bc"])).toEqual({ text: "xa", stopped: true });
    expect(run(["xabcd"], ["c", "abc"])).toEqual({ text: "x", stopped: true });
  });

  it("is not confused by empty stop strings or none", () => {
    expect(run(["a", "b"], [""])).toEqual({ text: "ab", stopped: false });
    expect(run(["a", "b"], [])).toEqual({ text: "ab", stopped: false });
  });

  const letters = fc.constantFrom("a", "b", "\u{1f600}");
  const text = fc.string({ unit: letters, maxLength: 6 });

  it("gives what a search of the whole text gives, however it is cut", () => {
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 12 }),
        fc.array(text, { maxLength: 4 }),
        (pieces, stops) => {
          expect(run(pieces, stops)).toEqual(cut(pieces.join(""), stops));
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("holds back no more than a stop string can still need", () => {
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 12 }),
        fc.array(text, { maxLength: 4 }),
        (pieces, stops) => {
          const matcher = new StopMatcher(stops);
          let given = "";
          let all = "";
          for (const piece of pieces) {
            const result = matcher.push(piece);
            given += result.text;
            all += piece;
            if (result.stopped) return;
            const held = all.slice(given.length);
            expect(held === "" || stops.some((stop) => stop.startsWith(held) && stop !== held))
              .toBe(true);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
