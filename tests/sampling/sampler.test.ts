/**
 * The native sampler through FFI, held against what llama.cpp's samplers leave of the same logits.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Library } from "../../src/ggml/library.ts";

interface Params {
  temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  repeat_penalty: number;
  seed?: number;
  position?: number;
}

interface Golden {
  /** By name; null is -inf. */
  logits: Record<string, (number | null)[]>;
  cases: {
    chain: string;
    logits: string;
    history: number[];
    params: Params;
    ids: number[];
    p: number[];
  }[];
}

const golden = JSON.parse(
  readFileSync(new URL("./golden/candidates.json", import.meta.url), "utf8"),
) as Golden;

const NOTHING: Params = { temperature: 1, top_k: 0, top_p: 1, min_p: 0, repeat_penalty: 1 };

let library: Library;
beforeAll(async () => {
  library = await Library.open();
});
afterAll(() => library[Symbol.dispose]());

function record(p: Params): Float64Array {
  const { temperature, top_k, top_p, min_p, repeat_penalty, seed = 0, position = 0 } = p;
  return new Float64Array([
    temperature,
    top_k,
    top_p,
    min_p,
    repeat_penalty,
    seed,
    position,
    0,
  ]);
}

function candidates(
  logits: Float32Array,
  params: Params,
  history: number[] = [],
): { count: number; ids: number[]; p: number[] } {
  const ids = new Int32Array(64);
  const p = new Float32Array(64);
  const count = library.native.sluice_sample_candidates(
    logits,
    logits.length,
    record(params),
    new Int32Array(history),
    history.length,
    ids,
    p,
    ids.length,
  );
  const n = Math.min(Math.max(count, 0), ids.length);
  return { count, ids: [...ids.subarray(0, n)], p: [...p.subarray(0, n)] };
}

const row = (name: string): Float32Array =>
  Float32Array.from(golden.logits[name] ?? [], (value) => value ?? -Infinity);

const lastError = (): string => {
  const buffer = new Uint8Array(512);
  return new TextDecoder().decode(
    buffer.subarray(0, library.native.sluice_last_error(buffer, buffer.length)),
  );
};

describe("sluice_sample_candidates", () => {
  for (const { chain, logits: name, history, params, ids, p } of golden.cases) {
    test(`leaves what ${chain} leaves of ${name} logits`, () => {
      const logits = row(name);
      const found = candidates(logits, params, history);
      expect(found.count).toBe(ids.length);
      // Equal logits are in no order: compare by value.
      const values = (list: number[]) => list.map((id) => logits[id]).sort();
      expect(values(found.ids)).toEqual(values(ids));
      expect(new Set(found.ids).size).toBe(ids.length);
      const wrong = found.p.filter((x, i) => !(Math.abs(x / (p[i] ?? 0) - 1) < 2e-5));
      expect(wrong).toEqual([]);
    });
  }

  test("orders equal logits by id", () => {
    const { ids } = candidates(new Float32Array([1, 2, 0, 2, 2]), { ...NOTHING, top_k: 3 });
    expect(ids).toEqual([1, 3, 4]);
  });

  test("takes neither NaN nor -Infinity for a candidate", () => {
    const logits = new Float32Array([NaN, 0, -Infinity, 0]);
    expect(candidates(logits, NOTHING)).toEqual({ count: 2, ids: [1, 3], p: [0.5, 0.5] });
    expect(candidates(new Float32Array([NaN, -Infinity]), NOTHING).count).toBe(-1);
    expect(lastError()).toBe("Cannot sample: none of 2 logits is a number above -inf");
  });

  test("says how many there are beyond the room for them", () => {
    const logits = Float32Array.from({ length: 1000 }, (_, i) => (i % 7) / 10);
    const { count, ids } = candidates(logits, NOTHING);
    expect(count).toBe(1000);
    expect(ids.every((id) => id % 7 === 6)).toBe(true);
  });

  const one = new Float32Array([0, 1]);
  for (
    const [what, params, history] of [
      ["a penalty of 0", { ...NOTHING, repeat_penalty: 0 }, []],
      ["NaN", { ...NOTHING, top_p: NaN }, []],
      ["a fractional seed", { ...NOTHING, seed: 0.5 }, []],
      ["a seed of 33 bits", { ...NOTHING, seed: 2 ** 32 }, []],
      ["a negative position", { ...NOTHING, position: -1 }, []],
      ["a token outside the vocabulary", { ...NOTHING, repeat_penalty: 2 }, [2]],
    ] as [string, Params, number[]][]
  ) {
    test(`refuses ${what} with a sentence`, () => {
      expect(candidates(one, params, history).count).toBe(-1);
      expect(lastError()).toMatch(/^Cannot (sample|penalize)/);
    });
  }
});
