import { describe, expect, test } from "bun:test";
import {
  type Batch,
  Scheduler,
  type SchedulerOptions,
  type TickTimes,
} from "../../src/core/scheduler.ts";
import type { SubmitMessage } from "../../src/engine/protocol.ts";

const END = 2;
const FAST = { sharedMs: 5, prefillMs: 1 };

function request(id: number, n_prompt = 4, more: Partial<SubmitMessage> = {}): SubmitMessage {
  return {
    type: "submit",
    id,
    tokens: Int32Array.from({ length: n_prompt }, (_, i) => 100 + i),
    n_sampled: 0,
    maxTokens: 1000,
    endIds: [END],
    sampling: new Float64Array(8),
    repeatLastN: 64,
    credit: 1000,
    ...more,
  };
}

/** A scheduler with a model that samples 7 every time. */
class Bench {
  readonly scheduler: Scheduler;
  constructor(options: Partial<SchedulerOptions> = {}) {
    this.scheduler = new Scheduler({ n_streams: 2, n_ctx: 64, ...options });
  }
  /** Runs one tick and returns what was computed. */
  tick(
    token = 7,
    times = FAST,
  ): { batch: Batch | undefined; sampled: ReturnType<Scheduler["commit"]> } {
    this.scheduler.admit();
    const batch = this.scheduler.next();
    if (!batch) return { batch, sampled: [] };
    const n = batch.decode.length + batch.shorts.length + (batch.prefill?.last ? 1 : 0);
    return { batch, sampled: this.scheduler.commit(batch, Array(n).fill(token), times) };
  }
}

const ids = (batch: Batch | undefined): number[] | undefined => batch?.decode.map((s) => s.id);

/** A batch by the ids of its sequences. */
const summary = (batch: Batch | undefined) =>
  batch && {
    decode: ids(batch),
    shorts: batch.shorts.map((s) => s.id),
    prefill: batch.prefill && [batch.prefill.sequence.id, batch.prefill.end],
  };

describe("Scheduler", () => {
  test("has nothing to do without sequences", () => {
    expect(new Bench().scheduler.next()).toBeUndefined();
  });

  test("computes a prompt, samples its first token, then decodes one token a tick", () => {
    const bench = new Bench();
    bench.scheduler.submit(request(1));
    const first = bench.tick();
    expect(first.batch?.prefill).toMatchObject({ end: 4, last: true });
    expect(first.sampled).toEqual([{ id: 1, token: 7, finish: undefined }]);
    const second = bench.tick();
    expect(ids(second.batch)).toEqual([1]);
    expect(second.batch?.prefill).toBeUndefined();
    expect(second.batch?.decode[0]?.tokens).toEqual([100, 101, 102, 103, 7, 7]);
  });

  test("ended() gives each sequence that left its stream once, cancelled or done", () => {
    const { scheduler } = new Bench();
    for (const id of [1, 2]) scheduler.submit(request(id, 4, { maxTokens: 1 }));
    scheduler.admit();
    expect(scheduler.ended()).toEqual([]);
    scheduler.cancel(2);
    scheduler.commit(scheduler.next()!, [7], FAST);
    expect(scheduler.ended().map((s) => s.id)).toEqual([2, 1]);
    expect(scheduler.ended()).toEqual([]);
  });

  test("admits in order of arrival and gives the lowest free stream", () => {
    const { scheduler } = new Bench();
    for (const id of [1, 2, 3]) scheduler.submit(request(id));
    expect(scheduler.admit().map((s) => [s.id, s.stream])).toEqual([[1, 0], [2, 1]]);
    expect([scheduler.running, scheduler.waiting]).toEqual([2, 1]);
    scheduler.cancel(1);
    expect(scheduler.admit().map((s) => [s.id, s.stream])).toEqual([[3, 0]]);
  });

  test("decodes running sequences between the pieces of a long prompt", () => {
    const bench = new Bench({ n_ctx: 4096 });
    bench.scheduler.submit(request(1));
    bench.tick();
    bench.scheduler.submit(request(2, 2000));
    let pieces = 0;
    for (;;) {
      const { batch } = bench.tick(7, { sharedMs: 5, prefillMs: 25 });
      expect(ids(batch)).toContain(1);
      if (!batch?.prefill) break;
      pieces += 1;
    }
    expect(pieces).toBeGreaterThan(10);
  });

  test("keeps a tick with decoding sequences near its budget by the measured speed", () => {
    const bench = new Bench({ n_ctx: 8192, tickMs: 30 });
    bench.scheduler.submit(request(1));
    bench.tick();
    bench.scheduler.submit(request(2, 8000));
    let size = 0;
    for (let i = 0; i < 40; i++) {
      bench.scheduler.admit();
      const batch = bench.scheduler.next()!;
      size = batch.prefill!.end - batch.prefill!.sequence.n_past;
      // 10 ms for decoding, 0.2 ms for each token of the prompt.
      bench.scheduler.commit(batch, [7], { sharedMs: 10, prefillMs: size * 0.2 });
    }
    expect(size * 0.2 + 10).toBeGreaterThan(25);
    expect(size * 0.2 + 10).toBeLessThanOrEqual(30);
  });

  test("computes a prompt in large pieces when nothing decodes", () => {
    const bench = new Bench({ n_ctx: 4096, n_batch: 512 });
    bench.scheduler.submit(request(1, 1200));
    const ends = [bench.tick(), bench.tick(), bench.tick()].map((t) => t.batch?.prefill?.end);
    expect(ends).toEqual([512, 1024, 1200]);
  });

  test("pauses a sequence without credit and goes on where it was", () => {
    const bench = new Bench();
    bench.scheduler.submit(request(1, 4, { credit: 2 }));
    bench.tick();
    bench.tick();
    expect(bench.scheduler.next()).toBeUndefined();
    expect(bench.scheduler.running).toBe(1);
    bench.scheduler.credit(1, 3);
    expect(bench.tick().batch?.decode[0]?.n_past).toBe(6);
    expect(bench.scheduler.next()).toBeUndefined();
  });

  test("gives a paused sequence's share to the others", () => {
    const bench = new Bench();
    bench.scheduler.submit(request(1, 4, { credit: 1 }));
    bench.scheduler.submit(request(2));
    bench.tick();
    bench.tick();
    expect(ids(bench.tick().batch)).toEqual([2]);
  });

  test("never takes credit back", () => {
    const bench = new Bench();
    bench.scheduler.submit(request(1, 4, { credit: 5 }));
    bench.scheduler.credit(1, 2);
    for (let i = 0; i < 5; i++) expect(bench.tick().batch).toBeDefined();
    expect(bench.scheduler.next()).toBeUndefined();
  });

  test("ends a sequence at its end token, which is reported", () => {
    const bench = new Bench();
    bench.scheduler.submit(request(1));
    expect(bench.tick(END).sampled).toEqual([{ id: 1, token: END, finish: "eos" }]);
    expect(bench.scheduler.running).toBe(0);
  });

  test("ends a sequence after maxTokens and when the context is full", () => {
    const bench = new Bench({ n_ctx: 8 });
    bench.scheduler.submit(request(1, 4, { maxTokens: 2 }));
    bench.tick();
    expect(bench.tick().sampled).toEqual([{ id: 1, token: 7, finish: "length" }]);
    bench.scheduler.submit(request(2, 6));
    bench.tick();
    expect(bench.tick().sampled).toEqual([{ id: 2, token: 7, finish: "length" }]);
  });

  test("drops a waiting and a running sequence at once, and knows nothing of others", () => {
    const { scheduler } = new Bench({ n_streams: 1 });
    scheduler.submit(request(1));
    scheduler.submit(request(2));
    scheduler.admit();
    expect([scheduler.cancel(2), scheduler.waiting]).toEqual([true, 0]);
    expect([scheduler.cancel(1), scheduler.running]).toEqual([true, 0]);
    expect(scheduler.cancel(1)).toBe(false);
    expect(scheduler.next()).toBeUndefined();
  });

  test("computes the same batch again when a tick was not committed", () => {
    const { scheduler } = new Bench();
    scheduler.submit(request(1));
    scheduler.admit();
    const first = scheduler.next();
    expect(scheduler.next()).toEqual(first);
  });

  test("gives the same batches for the same calls", () => {
    const run = (): string => {
      const bench = new Bench({ n_ctx: 512 });
      const trace: unknown[] = [];
      for (let i = 0; i < 60; i++) {
        if (i % 7 === 0) bench.scheduler.submit(request(i, 10 + i));
        if (i % 11 === 10) bench.scheduler.cancel(i - 10);
        const { batch } = bench.tick();
        trace.push(summary(batch));
      }
      return JSON.stringify(trace);
    };
    expect(run()).toBe(run());
  });
});

/** Times of a machine: 10 ms for those that decode, half a millisecond for a prompt's token. */
function costOf({ decode, shorts, prefill }: Batch): TickTimes {
  const n_short = shorts.reduce((sum, { n_left }) => sum + n_left, 0);
  const n_piece = prefill ? prefill.end - prefill.sequence.n_past : 0;
  return { sharedMs: (decode.length > 0 ? 10 : 0) + n_short / 2, prefillMs: n_piece / 2 };
}

/**
 * A scheduler that knows this machine, with sequences 1 to n decoding: of the 30 ms of a tick, 20
 * are left beside them, for some 40 tokens of prompts, and without them there is time for 60.
 */
function decoding(n: number, options: Partial<SchedulerOptions> = {}): Scheduler {
  const scheduler = new Scheduler({ n_streams: 8, n_ctx: 8192, ...options });
  const tick = (): void => {
    scheduler.admit();
    const batch = scheduler.next();
    if (batch) scheduler.commit(batch, Array(8).fill(7), costOf(batch));
  };
  for (let id = 1; id <= n; id++) scheduler.submit(request(id));
  tick();
  for (let id = 1000; id < 1040; id++) {
    tick();
    scheduler.submit(request(id, 16, { maxTokens: 1 }));
    tick();
  }
  expect(scheduler.running).toBe(n);
  return scheduler;
}

/** The next batches, when prompts of these lengths arrive together, as sequences 11 and on. */
function batchesFor(scheduler: Scheduler, lengths: number[], n_ticks = 1) {
  lengths.forEach((n_prompt, i) => scheduler.submit(request(11 + i, n_prompt)));
  scheduler.admit();
  return Array.from({ length: n_ticks }, () => {
    const batch = scheduler.next()!;
    const told = summary(batch);
    scheduler.commit(batch, Array(8).fill(7), costOf(batch));
    return told;
  });
}

describe("Scheduler, short prompts", () => {
  test("share a pass with those that decode, as many as a tick has time for", () => {
    expect(batchesFor(decoding(2), [16, 7, 16, 16, 16, 4], 3)).toEqual([
      { decode: [1, 2], shorts: [11, 12, 13], prefill: undefined },
      { decode: [1, 2, 11, 12, 13], shorts: [14, 15, 16], prefill: undefined },
      { decode: [1, 2, 11, 12, 13, 14, 15, 16], shorts: [], prefill: undefined },
    ]);
  });

  test("share a pass when nothing decodes, as many as a tick has time for, one at least", () => {
    expect(batchesFor(decoding(0), [16, 16, 16, 16, 16], 2)).toEqual([
      { decode: [], shorts: [11, 12, 13], prefill: undefined },
      { decode: [11, 12, 13], shorts: [14, 15], prefill: undefined },
    ]);
    expect(batchesFor(decoding(0), [64, 1])).toEqual([
      { decode: [], shorts: [11], prefill: undefined },
    ]);
  });

  test("have a pass of their own when alone, or longer than 64 tokens, or where none is shared", () => {
    expect(batchesFor(decoding(0), [16])).toEqual([
      { decode: [], shorts: [], prefill: [11, 16] },
    ]);
    const ample = { tickMs: 100 };
    expect(batchesFor(decoding(1, ample), [64])).toMatchObject([{ shorts: [11] }]);
    expect(batchesFor(decoding(1, ample), [65])).toMatchObject([{ shorts: [], prefill: [11, 65] }]);
    expect(batchesFor(decoding(1, { ...ample, n_short: 0 }), [1, 1], 2)).toEqual([
      { decode: [1], shorts: [], prefill: [11, 1] },
      { decode: [1, 11], shorts: [], prefill: [12, 1] },
    ]);
  });

  test("share none with a sequence that is too long for so many tokens", () => {
    const beside = (n_prompt: number) => {
      const scheduler = decoding(0, { tickMs: 100 });
      scheduler.submit(request(1, 4000));
      while (scheduler.admit().length > 0 || scheduler.next()?.prefill) batchesFor(scheduler, []);
      return batchesFor(scheduler, [n_prompt])[0];
    };
    expect(beside(31)).toEqual({ decode: [1], shorts: [11], prefill: undefined });
    expect(beside(32)).toEqual({ decode: [1], shorts: [], prefill: [11, 32] });
  });

  test("that have no time as a whole are computed in pieces, and only their ends share a pass", () => {
    expect(batchesFor(decoding(1), [60], 3)).toEqual([
      { decode: [1], shorts: [], prefill: [11, 32] },
      { decode: [1], shorts: [11], prefill: undefined },
      { decode: [1, 11], shorts: [], prefill: undefined },
    ]);
  });

  test("never overtake: a longer one that came before has its pieces first", () => {
    expect(batchesFor(decoding(1), [70, 5], 3)).toEqual([
      { decode: [1], shorts: [], prefill: [11, 32] },
      { decode: [1], shorts: [11], prefill: undefined },
      { decode: [1, 11], shorts: [12], prefill: undefined },
    ]);
  });

  test("leave what time is left to a piece of a long one behind them, if that is worth a pass", () => {
    expect(batchesFor(decoding(1), [16, 100])).toEqual([
      { decode: [1], shorts: [11], prefill: [12, 16] },
    ]);
    expect(batchesFor(decoding(1), [30, 100], 2)).toEqual([
      { decode: [1], shorts: [11], prefill: undefined },
      { decode: [1, 11], shorts: [], prefill: [12, 32] },
    ]);
  });

  test("sample behind those that decode, in order, and before a piece that ends a prompt", () => {
    const scheduler = decoding(2, { tickMs: 100 });
    for (const [id, n_prompt] of [[11, 5], [12, 3], [13, 70]] as const) {
      scheduler.submit(request(id, n_prompt));
    }
    scheduler.admit();
    const batch = scheduler.next()!;
    const sampled = scheduler.commit(batch, [21, 22, 23, 24, 25], costOf(batch));
    expect(sampled.map(({ id, token }) => [id, token]))
      .toEqual([[1, 21], [2, 22], [11, 23], [12, 24], [13, 25]]);
    // And all of them are in the cache.
    const decode = scheduler.next()!.decode;
    expect(decode.map((s) => [s.id, s.n_left, s.tokens.at(-1)]))
      .toEqual([[1, 1, 21], [2, 1, 22], [11, 1, 23], [12, 1, 24], [13, 1, 25]]);
  });

  test("count for something, however short the passes with them seem", () => {
    for (const sharedMs of [0, 9]) {
      const scheduler = decoding(2);
      for (let id = 100; id < 200; id++) {
        scheduler.submit(request(id, 16, { maxTokens: 1 }));
        scheduler.admit();
        // Decoding alone took 10 ms.
        scheduler.commit(scheduler.next()!, [7, 7, 7], { sharedMs, prefillMs: 0 });
      }
      const [batch] = batchesFor(scheduler, Array(6).fill(64));
      const { length } = batch!.shorts;
      expect(length).toBe(sharedMs === 0 ? 6 : 2);
    }
  });
});
