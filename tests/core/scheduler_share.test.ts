/** A sequence that nobody reads: what its pause costs it, and who gets what it leaves. */
import { describe, expect, test } from "bun:test";
import { Scheduler, type SchedulerOptions } from "../../src/core/scheduler.ts";
import type { SubmitMessage } from "../../src/engine/protocol.ts";

/** Milliseconds of a tick: for any batch, for each sequence that decodes, for a prompt's token. */
const COST = { tick: 5, decode: 4, prefill: 1 / 8 };
const TOKENS_MAX = 40;

function request(id: number, more: Partial<SubmitMessage> = {}): SubmitMessage {
  return {
    type: "submit",
    id,
    tokens: Int32Array.of(id, id + 1, id + 2),
    n_sampled: 0,
    maxTokens: TOKENS_MAX,
    endIds: [],
    sampling: new Float64Array(8),
    repeatLastN: 64,
    credit: TOKENS_MAX,
    ...more,
  };
}

/** The next token follows from all before it, whoever else is in the batch. */
const follow = (tokens: readonly number[]): number =>
  tokens.reduce((hash, token) => (hash * 31 + token) % 65_521, 7);

/** A scheduler with a model that takes time on a clock of its own. */
class Machine {
  readonly scheduler: Scheduler;
  /** Milliseconds that all ticks have taken. */
  ms = 0;
  /** Everything that each sequence sampled. */
  readonly sampled = new Map<number, number[]>();
  /** How much of prompts each tick computed. */
  readonly pieces: number[] = [];

  constructor(options: Partial<SchedulerOptions> = {}) {
    this.scheduler = new Scheduler({ n_streams: 4, n_ctx: 4096, ...options });
  }

  /** Runs a tick; gives the ids that sampled a token, undefined when nothing could run. */
  tick(): number[] | undefined {
    this.scheduler.admit();
    const batch = this.scheduler.next();
    if (batch === undefined) return undefined;
    const { decode, shorts, prefill } = batch;
    const piece = prefill === undefined ? 0 : prefill.end - prefill.sequence.n_past;
    const sampling = [...decode, ...shorts];
    const n_short = shorts.reduce((sum, { n_left }) => sum + n_left, 0);
    const costMs = COST.tick + decode.length * COST.decode + n_short * COST.prefill;
    const times = {
      sharedMs: sampling.length === 0 ? 0 : costMs,
      prefillMs: piece * COST.prefill,
    };
    if (prefill?.last === true) sampling.push(prefill.sequence);
    const tokens = sampling.map((sequence) => follow(sequence.tokens));
    const all = this.scheduler.commit(batch, tokens, times);
    for (const { id, token } of all) this.sampled.set(id, [...this.of(id), token]);
    if (piece + n_short > 0) this.pieces.push(piece + n_short);
    this.ms += times.sharedMs + times.prefillMs;
    return all.map(({ id }) => id);
  }

  /** Runs so many ticks; gives the milliseconds that they took. */
  run(ticks: number): number {
    const before = this.ms;
    for (let i = 0; i < ticks; i++) this.tick();
    return this.ms - before;
  }

  /** What a sequence has sampled. */
  of(id: number): number[] {
    return this.sampled.get(id) ?? [];
  }
}

/** What a request samples with the machine to itself. */
function alone(id: number): number[] {
  const machine = new Machine();
  machine.scheduler.submit(request(id));
  while (machine.tick() !== undefined);
  return machine.of(id);
}

/** A machine whose sequences 1 to n all decode; the first may sample as much as it is credited. */
function decoding(n: number, credit: number, options: Partial<SchedulerOptions> = {}): Machine {
  const machine = new Machine(options);
  machine.scheduler.submit(request(1, { credit }));
  for (let id = 2; id <= n; id++) machine.scheduler.submit(request(id));
  machine.run(n);
  return machine;
}

describe("A sequence that runs out of credit", () => {
  test("leaves the batch, and each token of the others takes less time", () => {
    const machine = decoding(4, 8);
    const together = machine.run(4) / 4;
    expect(machine.of(1).length).toBe(8);
    const before = [2, 3, 4].map((id) => machine.of(id).length);
    const without = machine.run(10) / 10;
    expect(machine.of(1).length).toBe(8);
    // One token of each in each tick, as before; the ticks are shorter.
    expect([2, 3, 4].map((id) => machine.of(id).length)).toEqual(before.map((n) => n + 10));
    expect(together).toBe(COST.tick + 4 * COST.decode);
    expect(without).toBe(COST.tick + 3 * COST.decode);
  });

  test("leaves its time to a prompt as well, whose pieces become larger", () => {
    const pieceBeside = (n: number, credit: number): number => {
      const machine = decoding(n, credit);
      machine.scheduler.submit(request(9, { tokens: new Int32Array(3000) }));
      machine.run(20);
      return Math.max(...machine.pieces);
    };
    // What 5 ms for the batch and 4 for each decoding sequence leave of 30, in steps of 16 tokens.
    expect(pieceBeside(3, TOKENS_MAX)).toBe(96);
    expect(pieceBeside(3, 3)).toBe(128);
    // Nobody waits for a tick in which nothing decodes.
    expect(pieceBeside(1, 1)).toBe(512);
  });

  test("keeps its stream: whoever waits gets that of a sequence that ends", () => {
    const machine = decoding(2, 2, { n_streams: 2 });
    machine.scheduler.submit(request(3));
    machine.scheduler.submit(request(4));
    machine.run(10);
    expect([machine.scheduler.running, machine.scheduler.waiting]).toEqual([2, 2]);
    expect(machine.of(3)).toEqual([]);
    machine.scheduler.cancel(2);
    machine.run(5);
    expect(machine.scheduler.waiting).toBe(1);
    expect(machine.of(3).length).toBe(5);
    // Only who goes gives up a stream.
    machine.scheduler.cancel(1);
    machine.run(2);
    expect(machine.scheduler.waiting).toBe(0);
  });

  test("stops nobody when all the others end, and then nothing runs", () => {
    const machine = decoding(3, 5);
    while (machine.tick() !== undefined);
    expect([2, 3].map((id) => machine.of(id).length)).toEqual([TOKENS_MAX, TOKENS_MAX]);
    expect(machine.of(1).length).toBe(5);
    expect(machine.scheduler.running).toBe(1);
    expect(machine.scheduler.next()).toBeUndefined();
  });
});

describe("A sequence that is credited again", () => {
  test("goes on with the tokens that it would have had, and so do the others", () => {
    for (const [credit, pause] of [[1, 1], [2, 7], [5, 20], [17, 3]] as const) {
      const machine = decoding(3, credit);
      machine.run(credit + pause);
      expect(machine.of(1)).toEqual(alone(1).slice(0, credit));
      machine.scheduler.credit(1, TOKENS_MAX);
      while (machine.tick() !== undefined);
      for (const id of [1, 2, 3]) expect(machine.of(id)).toEqual(alone(id));
    }
  });

  test("needs its prompt no second time: its cells and its stream are those that it had", () => {
    const machine = decoding(2, 6);
    machine.run(12);
    const pieces = machine.pieces.length;
    machine.scheduler.credit(1, 7);
    const batch = machine.scheduler.next();
    expect(batch?.decode.map(({ id, stream, n_past }) => [id, stream, n_past]))
      .toEqual([[1, 0, 3 + 6 - 1], [2, 1, 3 + machine.of(2).length - 1]]);
    machine.run(12);
    expect(machine.pieces.length).toBe(pieces);
    expect(machine.of(1)).toEqual(alone(1).slice(0, 7));
  });

  test("is in the batch of the next tick, in every second one if its reader is that slow", () => {
    const machine = decoding(2, 4);
    machine.run(8);
    const ticks: (number[] | undefined)[] = [];
    for (let n = 0; n < 6; n++) {
      if (n % 2 === 0) machine.scheduler.credit(1, 5 + n / 2);
      ticks.push(machine.tick());
    }
    expect(ticks).toEqual([[1, 2], [2], [1, 2], [2], [1, 2], [2]]);
    expect(machine.of(1)).toEqual(alone(1).slice(0, 7));
  });
});
