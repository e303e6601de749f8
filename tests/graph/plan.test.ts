import { describe, expect, test } from "bun:test";
import { type BatchShape, PlanCache, planGraph, type Recorder } from "../../src/graph/plan.ts";

const shape = (n_tokens: number, n_outputs = n_tokens): BatchShape => ({
  n_tokens,
  n_streams: 1,
  n_blocks: 4,
  n_outputs,
});

class FakePlan implements Disposable {
  disposed = false;
  readonly bytes = 100;
  readonly shape: BatchShape;
  constructor(shape: BatchShape) {
    this.shape = shape;
  }
  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

describe("PlanCache", () => {
  test("gives the same plan for the same shape and another for any other size", () => {
    const plans = new PlanCache((s) => new FakePlan(s), 900);
    const plan = plans.get(shape(4));
    expect(plans.get(shape(4))).toBe(plan);
    for (
      const change of [{ n_tokens: 5 }, { n_streams: 2 }, { n_blocks: 8 }, { n_outputs: 1 }]
    ) {
      expect(plans.get({ ...shape(4), ...change })).not.toBe(plan);
    }
    expect(plans.size).toBe(5);
  });

  test("disposes the plan that was not used for longest when there is no room", () => {
    const plans = new PlanCache((s) => new FakePlan(s), 200);
    const [one, two] = [plans.get(shape(1)), plans.get(shape(2))];
    plans.get(shape(1));
    plans.get(shape(3));
    expect([one.disposed, two.disposed]).toEqual([false, true]);
    expect(plans.size).toBe(2);
  });

  test("keeps the newest plan whatever its size", () => {
    const plans = new PlanCache((s) => new FakePlan(s), 50);
    const [one, two] = [plans.get(shape(1)), plans.get(shape(2))];
    expect([one.disposed, two.disposed]).toEqual([true, false]);
    expect(plans.get(shape(2))).toBe(two);
  });

  test("disposes all plans with itself", () => {
    const plans = new PlanCache((s) => new FakePlan(s), 200);
    const plan = plans.get(shape(1));
    plans[Symbol.dispose]();
    expect(plan.disposed).toBe(true);
    expect(plans.size).toBe(0);
  });
});

describe("planGraph", () => {
  const record: Recorder = (g, { tokens, out_rows }) => {
    const x = g.get_rows(g.weight("embd"), tokens);
    return out_rows ? g.get_rows(x, out_rows) : x;
  };
  const lookup = () => ({ type: "f32", ne: [8, 100, 1, 1] as const });

  test("asks for the rows of the outputs only when they are fewer than the tokens", () => {
    expect(planGraph(record, shape(4, 4), lookup, []).output?.ne).toEqual([8, 4, 1, 1]);
    expect(planGraph(record, shape(4, 1), lookup, []).output?.ne).toEqual([8, 1, 1, 1]);
  });

  test("has no output when no logits are wanted", () => {
    expect(planGraph(record, shape(4, 0), lookup, []).output).toBeUndefined();
  });
});
