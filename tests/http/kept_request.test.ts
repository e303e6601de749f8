/** What is kept of a request: its seed, its changes, the place where it goes on. */
import { describe, expect, it } from "bun:test";
import { amended, type KeptRequest, resumePoint, withSeed } from "../../src/server/kept_request.ts";
import { MODEL, START, token } from "../support/mock_generator.ts";

const KEPT: KeptRequest = {
  path: "/v1/stream",
  dialect: "native",
  body: { prompt: "Hi" },
  seed: 7,
  context: { model: MODEL, id: "0", created: 0 },
  onDisconnect: "cancel",
};

describe("withSeed()", () => {
  it.each([
    [{}, 7],
    [{ seed: null }, 7],
    [{ seed: -1 }, 7],
    [{ seed: 0 }, 0],
    [{ seed: 3 }, 3],
  ])("of %j is %d", (body, seed) => {
    expect(withSeed(body, 7)["seed"]).toBe(seed);
  });
});

describe("amended()", () => {
  it("adds a change to those before it, and leaves the body as it came", () => {
    const once = amended(KEPT, { maxTokens: 5 });
    const twice = amended(once, { sampling: { temperature: 0 } });
    expect(twice).toEqual({ ...KEPT, change: { maxTokens: 5, sampling: { temperature: 0 } } });
  });
});

describe("resumePoint()", () => {
  it("is after the last event, with the ids of all tokens", () => {
    const events = [START, token("a", 1), token("b", 2, { ids: [1, 2] })];
    expect(resumePoint(events)).toEqual({ ids: [101, 1, 2], seq: 2 });
  });
});
