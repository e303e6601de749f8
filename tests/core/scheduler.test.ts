import { describe, expect, test } from "bun:test";
import { type Batch, Scheduler, type SchedulerOptions } from "../../src/core/scheduler.ts";
import type { SubmitMessage } from "../../src/engine/protocol.ts";

const END = 2;
const FAST = { decodeMs: 5, prefillMs: 1 };

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
    const n = batch.decode.length + (batch.prefill?.last ? 1 : 0);
    return { batch, sampled: this.scheduler.commit(batch, Array(n).fill(token), times) };
  }
}

const ids = (batch: Batch | undefined): number[] | undefined => batch?.decode.map((s) => s.id);

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
      const { batch } = bench.tick(7, { decodeMs: 5, prefillMs: 25 });
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
      bench.scheduler.commit(batch, [7], { decodeMs: 10, prefillMs: size * 0.2 });
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
        trace.push([ids(batch), batch?.prefill?.sequence.id, batch?.prefill?.end]);
      }
      return JSON.stringify(trace);
    };
    expect(run()).toBe(run());
  });
});
