import { describe, expect, it } from "bun:test";
import type { Ask, Entrant } from "../../bench/contender.ts";
import { type Plan, playRounds } from "../../bench/rounds.ts";
import type { Scenario } from "../../bench/scenarios.ts";
import { EngineError } from "../../src/errors.ts";

const figure = { name: "speed", unit: "tok/s", better: "more" } as const;

/** An entrant that writes down what is done with it. */
function fake(name: string, log: string[], threads = 2): Entrant & { asked: string[] } {
  const asked: string[] = [];
  const processes = {
    pause: () => void log.push(`pause ${name}`),
    resume: () => void log.push(`resume ${name}`),
    cpuMs: () => 0,
    memory: () => ({ residentBytes: 0, peakBytes: 0 }),
  };
  const ask = ({ prompts, maxTokens }: Ask) => {
    asked.push(...prompts);
    const promptTokens = prompts[0]!.split(" ").length + 1;
    return Promise.resolve([{ promptTokens, tokens: maxTokens, firstMs: 1, lastMs: 2 }]);
  };
  const end = () => Promise.resolve(void log.push(`end ${name}`));
  const start = () => Promise.resolve({ processes, ask, [Symbol.asyncDispose]: end });
  return { name, version: "1", threads, rivals: [], start, asked };
}

function scenario(log: string[], more: Partial<Scenario> = {}): Scenario {
  const measure: Scenario["measure"] = ({ entrant }) => {
    log.push(`measure ${entrant.name}`);
    return Promise.resolve([1]);
  };
  const load = { prompts: 1, promptTokens: 16, newTokens: 16 };
  const figures = [figure];
  return { name: "play", figures, when: "round", isDefault: true, load, measure, ...more };
}

async function play(
  entrants: readonly Entrant[],
  scenarios: readonly Scenario[],
  rounds = 2,
  signal = new AbortController().signal,
  beforeRound: Plan["beforeRound"] = () => Promise.resolve([]),
) {
  const left: string[] = [];
  const leaveOut = (name: string, why: string) => void left.push(`${name}: ${why}`);
  const progress = () => undefined;
  const plan = { entrants, scenarios, rounds, threads: 2, settleMs: 0, signal, progress, leaveOut };
  const samples = await playRounds({ ...plan, beforeRound });
  return { samples, left };
}

describe("playRounds()", () => {
  it("lets only the one run that is measured, and changes who is first", async () => {
    const log: string[] = [];
    await play([fake("a", log), fake("b", log)], [scenario(log)]);
    const turn = (name: string) => [`resume ${name}`, `measure ${name}`, `pause ${name}`];
    expect(log).toEqual([
      ...["pause a", "pause b"],
      ...[...turn("a"), ...turn("b")],
      ...[...turn("b"), ...turn("a")],
      ...["end a", "end b"],
    ]);
  });

  it("plays what belongs to the end once", async () => {
    const log: string[] = [];
    const { samples } = await play([fake("a", log)], [scenario(log, { when: "end" })], 3);
    expect(samples).toEqual([{ figure, entrant: "a", round: 0, value: 1 }]);
  });

  it("lets other numbers of threads play only where the scenario wants them", async () => {
    const log: string[] = [];
    const entrants = [fake("two", log), fake("one", log, 1)];
    await play(entrants, [scenario(log), scenario(log, { oneThread: true })], 1);
    const measured = log.filter((line) => line.startsWith("measure"));
    expect(measured).toEqual(["measure two", "measure two", "measure one"]);
  });

  it("lets only those play who can", async () => {
    const log: string[] = [];
    const plays = ({ name }: Entrant) => name === "b";
    const { samples } = await play([fake("a", log), fake("b", log)], [scenario(log, { plays })], 1);
    expect(samples.map(({ entrant }) => entrant)).toEqual(["b"]);
  });

  it("gives what it has when it is told to stop", async () => {
    const log: string[] = [];
    const stopper = new AbortController();
    const measure: Scenario["measure"] = () => {
      if (log.filter((line) => line.startsWith("resume")).length < 4) return Promise.resolve([1]);
      stopper.abort();
      return new Promise(() => undefined);
    };
    const entrants = [fake("a", log), fake("b", log)];
    const { samples } = await play(entrants, [scenario(log, { measure })], 9, stopper.signal);
    expect(samples).toHaveLength(3);
    expect(log.slice(-2)).toEqual(["end a", "end b"]);
  });

  it("goes on without one that fails, and ends it", async () => {
    const log: string[] = [];
    const measure: Scenario["measure"] = ({ entrant }) => {
      if (entrant.name === "a") throw new EngineError("Cannot measure a");
      return Promise.resolve([2]);
    };
    const entrants = [fake("a", log), fake("b", log)];
    const { samples, left } = await play(entrants, [scenario(log, { measure })]);
    expect(left).toEqual(["a: Cannot measure a"]);
    expect(log.filter((line) => line === "end a")).toHaveLength(1);
    expect(samples.map(({ entrant }) => entrant)).toEqual(["b", "b"]);
  });

  it("throws what is no failure of a contender", async () => {
    const measure = () => Promise.reject(new TypeError("a fault of the bench"));
    await expect(play([fake("a", [])], [scenario([], { measure })])).rejects.toThrow(TypeError);
  });

  it("asks nobody the same twice and makes up for the tokens that begin a text", async () => {
    const log: string[] = [];
    const entrant = fake("a", log);
    const measure: Scenario["measure"] = async ({ contender, prompt }) => {
      const [answer] = await contender.ask({ prompts: [prompt(512)], maxTokens: 1 });
      return [answer!.promptTokens];
    };
    const { samples } = await play([entrant], [scenario(log, { measure })]);
    expect(samples.map(({ value }) => value)).toEqual([512, 512]);
    expect(new Set(entrant.asked).size).toBe(entrant.asked.length);
  });

  it("warms everybody up with each size of the work, once", async () => {
    const log: string[] = [];
    const entrant = fake("a", log);
    const load = { prompts: 3, promptTokens: 200, newTokens: 1 };
    const long = scenario(log, { load });
    await play([entrant], [long, long, scenario(log)], 1);
    const words = entrant.asked.map((text) => text.split(" ").length);
    // One word less than tokens, after the first prompt has shown how many come on top.
    expect(words).toEqual([64, 199, 199, 199, 15, ...[15, 15, 15]]);
  });

  it("measures the machine at the start of each round, while all are paused", async () => {
    const log: string[] = [];
    const ours = { figure, entrant: "machine", value: 7 };
    const { samples } = await play([fake("a", log)], [scenario(log)], 2, undefined, (round) => {
      log.push(`machine ${round}`);
      return Promise.resolve([{ ...ours, round }]);
    });
    const turn = ["resume a", "measure a", "pause a"];
    expect(log).toEqual(["pause a", "machine 0", ...turn, "machine 1", ...turn, "end a"]);
    expect(samples.filter(({ entrant }) => entrant === "machine")).toHaveLength(2);
  });
});
