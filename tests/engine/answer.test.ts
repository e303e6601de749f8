import { describe, expect, test } from "bun:test";
import { Answer } from "../../src/engine/answer.ts";
import type { TokenEvent } from "../../src/stream/event.ts";
import { Detokenizer } from "../../src/text/detokenizer.ts";
import { StopMatcher } from "../../src/text/stop.ts";

const utf8 = new TextEncoder();

/** An answer over tokens that are given by their bytes; an id is an index. */
function answer(tokens: (string | Uint8Array)[], stops: string[] = []) {
  const bytes = tokens.map((t) => (typeof t === "string" ? utf8.encode(t) : t));
  const tokenizer = { bytes: (id: number) => bytes[id]!, spacePrefix: false };
  return new Answer(new Detokenizer(tokenizer), new StopMatcher(stops), performance.now());
}

/** What comes out after each token and at the end, as ids and texts. */
function run(tokens: (string | Uint8Array)[], stops: string[] = []): [number, string][][] {
  const all = answer(tokens, stops);
  const steps: TokenEvent[][] = [];
  for (let id = 0; id < tokens.length && !all.stopped; id++) steps.push(all.push(id));
  steps.push(all.finish());
  return steps.map((events) => events.map((e): [number, string] => [e.ids[0]!, e.text]));
}

const smile = utf8.encode("\u{1f600}");

describe("Answer", () => {
  test("gives one event for each token, with seq from 1 up", () => {
    const all = answer(["a", "b"]);
    const events = [...all.push(0), ...all.push(1), ...all.finish()];
    expect(events.map((e) => [e.seq, e.ids, e.text])).toEqual([[1, [0], "a"], [2, [1], "b"]]);
  });

  test("holds the tokens of an unfinished code point and gives its text to the last of them", () => {
    const steps = run([smile.subarray(0, 2), smile.subarray(2, 3), smile.subarray(3), "!"]);
    expect(steps).toEqual([
      [],
      [],
      [[0, ""], [1, ""], [2, "\u{1f600}"]],
      [[3, "!"]],
      [],
    ]);
  });

  test("gives what was held back when the answer ends in the middle of a code point", () => {
    expect(run([smile.subarray(0, 2)])).toEqual([[], [[0, "\ufffd"]]]);
  });

  test("holds what may become a stop string and lets it go when it does not", () => {
    expect(run(["x", "EN", "D", "E"], ["ENDING"])).toEqual([
      [[0, "x"]],
      [],
      [],
      [[1, ""], [2, "END"]],
      [[3, "E"]],
    ]);
  });

  test("ends before a stop string and keeps the ids of its tokens", () => {
    expect(run(["good", " EN", "D more"], ["END"])).toEqual([
      [[0, "good"]],
      [],
      [[1, " "], [2, ""]],
      [],
    ]);
  });

  test("gives an unfinished stop string when the answer ends", () => {
    expect(run(["a", "EN"], ["END"])).toEqual([[[0, "a"]], [], [[1, "EN"]]]);
  });
});
