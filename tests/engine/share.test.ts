/** With a real model: what readers that stop reading leave to the other, and what they find. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { load, type Model, type StreamEvent } from "../../mod.ts";
import { Core } from "../../src/core/core.ts";
import { samplingRecord } from "../../src/engine/sampling.ts";
import { resolveModel } from "../../src/store/reference.ts";

/** Milliseconds of processor time since `before`, of all threads. */
function cpuMs(before?: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** The least of some costs: what other programs of the machine did not add to. */
const least = (costs: readonly number[]): number => Math.min(...costs);

/** Sequences at once: weights are read once for all, so that two are hardly dearer than one. */
const SEQUENCES = 8;
const ALL = Array.from({ length: SEQUENCES }, (_, i) => i + 1);

describe("Core with sequences that have no credit", () => {
  const TOKENS = 60;
  let core: Core;
  beforeAll(async () => {
    const { path } = resolveModel("smollm2");
    const sizes = { n_threads: 2, n_ctx: 256, n_streams: SEQUENCES };
    const paths = { flashAttention: true, fused: true, repack: true };
    const flags = new Int32Array(SEQUENCES);
    core = await Core.load({ path, ...sizes, cacheType: "f16", ...paths }, flags);
  }, 60_000);
  afterAll(() => core[Symbol.dispose]());

  const submit = (id: number, credit: number): void =>
    core.submit({
      type: "submit",
      id,
      tokens: Int32Array.of(504, 3575, 282, 4649, 314),
      n_sampled: 0,
      maxTokens: TOKENS,
      endIds: [],
      sampling: samplingRecord({ temperature: 1.1, seed: id }),
      repeatLastN: 0,
      credit,
    });

  const sampled = new Map<number, number[]>();

  /** Runs a tick; gives who sampled a token in it, and its cost. */
  function tick(): { ids: number[]; ms: number } {
    core.admit();
    const before = process.cpuUsage();
    const all = core.tick() ?? [];
    const ms = cpuMs(before);
    for (const { id, token } of all) sampled.set(id, [...sampled.get(id) ?? [], token]);
    return { ids: all.map(({ id }) => id), ms };
  }

  /** Runs to the end; gives what all have sampled, and forgets it. */
  function finish(): (number[] | undefined)[] {
    while (tick().ids.length > 0);
    const tokens = ALL.map((id) => sampled.get(id));
    sampled.clear();
    return tokens;
  }

  test("computes the other one alone, for less, and then the same tokens as ever", () => {
    for (const id of ALL) submit(id, TOKENS);
    const undisturbed = finish();
    expect(undisturbed.map((tokens) => tokens?.length)).toEqual(ALL.map(() => TOKENS));
    expect(new Set(undisturbed.map(String)).size).toBe(SEQUENCES);
    for (const id of ALL) submit(id, id === 1 ? TOKENS : 1);
    // Their prompts are computed one after the other, and each gives a token.
    for (let n = 0; n < SEQUENCES; n++) tick();
    for (const id of ALL) core.credit(id, 13);
    const together = Array.from({ length: 12 }, tick);
    const paused = Array.from({ length: 12 }, tick);
    expect(together.map(({ ids }) => ids)).toEqual(together.map(() => ALL));
    // Each tick still brings the first its token, and costs less.
    expect(paused.map(({ ids }) => ids)).toEqual(paused.map(() => [1]));
    expect(least(paused.map(({ ms }) => ms))).toBeLessThan(least(together.map(({ ms }) => ms)));
    expect(core.stats).toMatchObject({ running: SEQUENCES, waiting: 0 });
    for (const id of ALL) core.credit(id, TOKENS);
    expect(tick().ids).toEqual(ALL);
    expect(finish()).toEqual(undisturbed);
  }, 60_000);
});

describe("Readers that stop reading", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load("smollm2", { parallel: SEQUENCES, ctxSize: 256, lookahead: 8 });
  }, 60_000);
  afterAll(() => model[Symbol.asyncDispose]());

  /** A reader of a request that keeps the ids. */
  class Reader {
    readonly ids: number[] = [];
    readonly #events: AsyncGenerator<StreamEvent, void, undefined>;

    constructor(seed: number, maxTokens: number) {
      const sampling = { temperature: 1.1, seed };
      const request = { prompt: "The three rivers are", maxTokens, sampling, ignoreEos: true };
      this.#events = model.generate(request);
    }

    /** Reads until there are `n` ids, or to the end. */
    async read(n = Infinity): Promise<void> {
      while (this.ids.length < n) {
        const { value } = await this.#events.next();
        if (!value) break;
        if (value.type === "token") this.ids.push(...value.ids);
      }
    }
  }

  const begin = (): Reader[] => ALL.map((seed) => new Reader(seed, seed === 1 ? 240 : 140));

  /** Processor time while all of them read up to `n` ids. */
  async function costOf(readers: Reader[], n: number): Promise<number> {
    const before = process.cpuUsage();
    await Promise.all(readers.map((reader) => reader.read(n)));
    return cpuMs(before);
  }

  test("leave their processor time to the other one and keep their places", async () => {
    const alone = [...begin(), new Reader(9, 10)];
    await Promise.all(alone.map((reader) => reader.read()));
    const readers = begin();
    const [first, ...others] = readers;
    // Many more tokens at a time than are sampled ahead.
    await costOf(readers, 16);
    const together = [await costOf(readers, 64), await costOf(readers, 112)];
    // What may be sampled ahead for the others ends while 16 more come.
    await first!.read(128);
    const without = [await costOf([first!], 176), await costOf([first!], 224)];
    expect(least(without)).toBeLessThan(least(together));
    // Whoever comes has to wait for the place of the one that is read.
    const ninth = new Reader(9, 10);
    const waits = ninth.read();
    while ((await model.stats()).waiting === 0) await sleep(1);
    await first!.read(232);
    expect(await model.stats()).toMatchObject({ running: SEQUENCES, waiting: 1 });
    await first!.read();
    await waits;
    await Promise.all(others.map((reader) => reader.read()));
    expect([...readers, ninth].map(({ ids }) => ids)).toEqual(alone.map(({ ids }) => ids));
  }, 60_000);
});
