import { describe, expect, it } from "bun:test";
import process from "node:process";
import type { Ask, Contender, Entrant } from "../../bench/contender.ts";
import type { LinearLine } from "../../bench/linear.ts";
import { listScenarios, roomFor, type Scenario } from "../../bench/scenarios.ts";
import type { TicksLine } from "../../bench/ticks.ts";

const all = listScenarios();
const speeds = all.filter(({ figures, plays }) =>
  plays === undefined && figures.some(({ unit }) => unit === "tok/s")
);
const named = (name: string): Scenario => all.find((scenario) => scenario.name === name)!;

/** A contender that keeps what it is asked for and answers with the same times. */
function contender(asked: Ask[], answers = 1): Contender {
  const processes = {
    pause: () => undefined,
    resume: () => undefined,
    cpuMs: () => 0,
    memory: () => ({ residentBytes: 3e6, peakBytes: 5e6 }),
  };
  const ask = (what: Ask) => {
    asked.push(what);
    const answer = { promptTokens: 100, tokens: 41, firstMs: 200, lastMs: 1000 };
    return Promise.resolve(new Array<typeof answer>(answers).fill(answer));
  };
  return { processes, ask, [Symbol.asyncDispose]: () => Promise.resolve() };
}

const entrant: Entrant = {
  ...{ name: "a", version: "1", threads: 2, rivals: [] },
  start: () => Promise.resolve(contender([])),
};

function measure(
  scenario: Scenario,
  asked: Ask[],
  answers = 1,
  more: Partial<Entrant> = {},
): Promise<number[]> {
  const prompt = (tokens: number): string => `${tokens} tokens`;
  const stage = { entrant: { ...entrant, ...more }, contender: contender(asked, answers), prompt };
  return scenario.measure(stage);
}

describe("listScenarios()", () => {
  it("has every depth, length and number of streams", () => {
    expect(speeds.map(({ name }) => name)).toEqual([
      ...["depth-0", "depth-1024", "depth-2048", "depth-4096"],
      ...["prefill-128", "prefill-512", "prefill-2048"],
      ...["streams-1", "streams-4", "streams-8", "streams-16", "busy"],
    ]);
  });

  it("plays a few where nobody chooses", () => {
    const chosen = speeds.filter(({ isDefault }) => isDefault).map(({ name }) => name);
    expect(chosen).toEqual(["depth-0", "depth-2048", "prefill-512", "streams-8", "busy"]);
  });

  it("has no name twice, aliases included", () => {
    const names = all.flatMap(({ name, alias }) => alias === undefined ? [name] : [name, alias]);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain("decode");
  });

  it.each(speeds.map(({ name }) => name))(
    "asks for what %s says that it asks for",
    async (name) => {
      const { load } = named(name);
      const asked: Ask[] = [];
      if (name !== "busy") await measure(named(name), asked, load.prompts);
      else asked.push({ prompts: ["16 tokens"], maxTokens: 64 });
      const prompts = new Array<string>(load.prompts).fill(`${load.promptTokens} tokens`);
      expect(asked).toEqual([{ prompts, maxTokens: load.newTokens }]);
    },
  );

  it("takes the speed of decoding between the first token and the last", async () => {
    expect(await measure(named("depth-1024"), [])).toEqual([50]);
  });

  it("takes the time to the first token beside the speed at depth 0", async () => {
    const { figures } = named("depth-0");
    expect(figures.map(({ unit }) => unit)).toEqual(["tok/s", "ms"]);
    expect(await measure(named("depth-0"), [])).toEqual([50, 200]);
  });

  it("takes the speed of a prompt from its tokens and its first answer", async () => {
    expect(await measure(named("prefill-512"), [])).toEqual([500]);
  });

  it("asks those who can tell for their linear layers alone", async () => {
    const linearLayers = (tokens: number): Promise<LinearLine> =>
      Promise.resolve({ layersGops: tokens, productsGops: 2 * tokens });
    const { plays } = named("linear");
    expect([plays!(entrant), plays!({ ...entrant, linearLayers })]).toEqual([false, true]);
    expect(await measure(named("linear"), [], 1, { linearLayers })).toEqual([1024, 512]);
  });

  it("asks those who can tell for the speed of their core alone", async () => {
    const ticks = (tokens: number): Promise<TicksLine> =>
      Promise.resolve({ tokensPerSecond: 10 * tokens });
    const { plays } = named("ticks");
    expect([plays!(entrant), plays!({ ...entrant, ticks })]).toEqual([false, true]);
    expect(await measure(named("ticks"), [], 1, { ticks })).toEqual([320]);
  });

  it("adds up the tokens of all streams", async () => {
    expect(await measure(named("streams-8"), [], 8)).toEqual([328]);
  });

  it.skipIf(process.platform !== "linux")(
    "reads the memory at the end (needs the /proc of Linux)",
    async () => {
      expect(named("memory").when).toBe("end");
      expect(await measure(named("memory"), [])).toEqual([3, 5]);
    },
  );
});

describe("roomFor()", () => {
  it("fits the longest prompt with its answer, and as many sequences as run at once", () => {
    const room = roomFor([named("depth-4096"), named("streams-16"), named("prefill-128")]);
    expect(room.sequences).toBe(16);
    expect(room.tokens).toBeGreaterThanOrEqual(4096 + 128);
    expect(room.tokens).toBeLessThan(4608);
  });

  it("is small where little is asked for", () => {
    expect(roomFor([named("depth-0")])).toEqual({ sequences: 1, tokens: 256 });
  });
});
