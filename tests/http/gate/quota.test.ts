/** Bucket and Quota: a minute's worth, evenly back, and what clients are told of it. */
import { describe, expect, it } from "bun:test";
import { OverloadedError } from "../../../src/errors.ts";
import { Bucket, durationText, Quota } from "../../../src/server/quota.ts";
import { MockGenerator, saying } from "../../support/mock_generator.ts";

/** A clock that a test moves. */
function clock() {
  let now = 5000;
  return { now: () => now, pass: (ms: number) => void (now += ms) };
}

describe("Bucket", () => {
  it("is full at first and gets a sixtieth of a minute back in a second", () => {
    const { now, pass } = clock();
    const bucket = new Bucket(120, now);
    expect(bucket.left).toBe(120);
    bucket.spend(120);
    expect([bucket.left, bucket.waitMs(1)]).toEqual([0, 500]);
    pass(499);
    expect(bucket.left).toBe(0);
    pass(1);
    expect([bucket.left, bucket.waitMs(1)]).toEqual([1, 0]);
    pass(999_999);
    expect(bucket.left).toBe(120);
  });

  it("is paid back before it gives again where it was overdrawn", () => {
    const { now, pass } = clock();
    const bucket = new Bucket(60, now);
    bucket.spend(90);
    expect([bucket.left, bucket.waitMs(1)]).toEqual([0, 31_000]);
    pass(31_000);
    expect(bucket.left).toBe(1);
  });
});

describe("Quota", () => {
  const thrownBy = (quota: Quota): OverloadedError => {
    try {
      quota.take();
    } catch (error) {
      return error as OverloadedError;
    }
    throw new Error("it was not refused");
  };

  it("refuses one request too many, and says when there is room", () => {
    const { now, pass } = clock();
    const quota = new Quota({ requestsPerMinute: 2 }, now);
    quota.take();
    quota.take();
    const refusal = thrownBy(quota);
    expect(refusal).toBeInstanceOf(OverloadedError);
    expect([refusal.status, refusal.code, refusal.retryAfterS]).toEqual([
      429,
      "rate_limit_exceeded",
      30,
    ]);
    expect(refusal.message).toContain("its 2 requests per minute, try again in 30s");
    pass(30_000);
    quota.take();
    thrownBy(quota);
  });

  it("counts the tokens of prompt and answer as they come, and refuses when they are used", async () => {
    const { now, pass } = clock();
    const quota = new Quota({ requestsPerMinute: 100, tokensPerMinute: 10 }, now);
    const generator = quota.metered(new MockGenerator(saying("a", "b", "c")));
    quota.take();
    const left: string[] = [];
    for await (const _event of generator.generate({ prompt: "Hi" })) {
      left.push(quota.headers["x-ratelimit-remaining-tokens"]!);
    }
    // 5 of the prompt with the start event, then one for each token.
    expect(left).toEqual(["5", "4", "3", "2", "2", "2"]);
    quota.take();
    for await (const _event of generator.generate({ prompt: "Hi" })) { /* It is overdrawn. */ }
    const before = quota.headers["x-ratelimit-remaining-requests"];
    expect(thrownBy(quota).message).toContain("its 10 tokens per minute");
    expect(quota.headers["x-ratelimit-remaining-requests"]).toBe(before!);
    pass(42_000);
    quota.take();
  });

  it("cancels the generator behind it when nobody wants it any more", async () => {
    const mock = new MockGenerator(saying("a", "b"));
    const quota = new Quota({ tokensPerMinute: 100 });
    for await (const event of quota.metered(mock).generate({ prompt: "Hi" })) {
      if (event.type === "token") break;
    }
    expect([mock.active, mock.finished]).toEqual([0, 1]);
    expect(quota.headers["x-ratelimit-remaining-tokens"]).toBe("94");
  });

  it("tells what is left in OpenAI's words", () => {
    const { now } = clock();
    const quota = new Quota({ requestsPerMinute: 60, tokensPerMinute: 1000 }, now);
    quota.take();
    expect(quota.headers).toEqual({
      "x-ratelimit-limit-requests": "60",
      "x-ratelimit-remaining-requests": "59",
      "x-ratelimit-reset-requests": "1s",
      "x-ratelimit-limit-tokens": "1000",
      "x-ratelimit-remaining-tokens": "1000",
      "x-ratelimit-reset-tokens": "0ms",
    });
    expect(new Quota({}).headers).toEqual({});
  });
});

describe("durationText()", () => {
  it.each(
    [
      [0, "0ms"],
      [0.2, "1ms"],
      [999, "999ms"],
      [1000, "1s"],
      [1504, "1.51s"],
      [59_990, "59.99s"],
      [60_000, "1m0s"],
      [366_500, "6m6.5s"],
    ] as const,
  )("of %d ms is %s", (ms, text) => expect(durationText(ms)).toBe(text));
});
