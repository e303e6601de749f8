/** StreamResponse: text and ids in groups, time-outs, errors, and what becomes of the rest. */
import { describe, expect, it } from "bun:test";
import { StreamingConfig } from "../../src/stream/config.ts";
import { streamAndCollect, streamResponses } from "../../src/stream/response.ts";
import {
  complete,
  MockGenerator,
  saying,
  type Script,
  START,
  token,
} from "../support/mock_generator.ts";

const never = (): Promise<unknown> => new Promise(() => undefined);
const failing: Script = () => [
  START,
  token("a", 1),
  { type: "error", code: "engine_error", message: "It broke", hints: ["Load it again."] },
];

function open(script: Script, options = {}) {
  const mock = new MockGenerator(script);
  return { mock, responses: streamResponses(mock.generate({}), new StreamingConfig(options)) };
}

describe("streamResponses()", () => {
  it("gives text and ids, so many tokens together", async () => {
    const { responses } = open(saying("a", "", "é", "d", "e"), { bufferSize: 2 });
    expect(await Array.fromAsync(responses)).toEqual([
      { text: "a", tokenIds: [101, 102] },
      { text: "éd", tokenIds: [103, 104] },
      { text: "e", tokenIds: [105] },
    ]);
  });

  it("gives every token alone where the buffer holds one", async () => {
    const { responses } = open(saying("a", "b"), { bufferSize: 1 });
    expect((await Array.fromAsync(responses)).map(({ tokenIds }) => tokenIds)).toEqual([
      [101],
      [102],
    ]);
  });

  it("does not hold up a token longer than flushIntervalMs", async () => {
    const gate = Promise.withResolvers<void>();
    const script: Script = () => [START, token("a", 1), gate.promise, token("b", 2), complete(2)];
    const { responses } = open(script, { bufferSize: 10, flushIntervalMs: 5 });
    expect(await responses.next()).toMatchObject({ value: { text: "a" } });
    gate.resolve();
    expect(await responses.next()).toMatchObject({ value: { text: "b" } });
    expect(await responses.next()).toMatchObject({ done: true });
  });

  it("throws where the next token takes too long, though not for the first", async () => {
    const gate = Promise.withResolvers<void>();
    setTimeout(gate.resolve, 40);
    const script: Script = () => [START, gate.promise, token("a", 1), never(), token("b", 2)];
    const { responses } = open(script, { bufferSize: 1, tokenTimeoutMs: 10, cancellable: false });
    expect(await responses.next()).toMatchObject({ value: { text: "a" } });
    await expect(responses.next()).rejects.toThrow("no token came within 10 ms");
  });

  it("throws what an error event says, after what came before it", async () => {
    const { responses } = open(failing, { bufferSize: 1 });
    expect(await responses.next()).toMatchObject({ value: { text: "a" } });
    await expect(responses.next()).rejects.toMatchObject({
      code: "engine_error",
      message: "It broke",
      hints: ["Load it again."],
    });
  });

  it("ends the generation of a reader that leaves, or lets it run where it is not cancellable", async () => {
    const texts = Array.from({ length: 50 }, (_, i) => `t${i}`);
    const left = open(saying(...texts), { bufferSize: 1 });
    for await (const _ of left.responses) break;
    expect(left.mock).toMatchObject({ active: 0, finished: 1 });
    expect(left.mock.events).toBeLessThan(5);
    const kept = open(saying(...texts), { bufferSize: 1, cancellable: false });
    for await (const _ of kept.responses) break;
    await kept.mock.until(() => kept.mock.finished === 1);
    expect(kept.mock.events).toBe(53);
  });
});

describe("streamAndCollect()", () => {
  it("yields the texts and returns the whole", async () => {
    const texts = streamAndCollect(new MockGenerator(saying("a", "", "b")).generate({}));
    const seen: string[] = [];
    let step = await texts.next();
    for (; step.done !== true; step = await texts.next()) seen.push(step.value);
    expect(seen).toEqual(["a", "b"]);
    expect(step.value).toBe("ab");
  });

  it("throws what an error event says", async () => {
    const texts = streamAndCollect(new MockGenerator(failing).generate({}));
    await expect(Array.fromAsync(texts)).rejects.toThrow("It broke");
  });
});
