import { describe, expect, test } from "bun:test";
import { RequestError } from "../../src/errors.ts";
import { samplingDefaults, samplingRecord } from "../../src/engine/sampling.ts";

describe("samplingRecord", () => {
  test("has the order that the library reads and the documented defaults", () => {
    const record = samplingRecord({ seed: 5 });
    expect(Array.from(record)).toEqual([0.8, 40, 0.95, 0.05, 1, 5, 0, 0]);
    expect(samplingDefaults.repeatLastN).toBe(64);
  });

  test("takes every option that is given", () => {
    const options = {
      temperature: 0,
      topK: 1,
      topP: 0.5,
      minP: 0,
      repeatPenalty: 1.1,
      seed: 2 ** 32 - 1,
    };
    expect(Array.from(samplingRecord(options))).toEqual([0, 1, 0.5, 0, 1.1, 2 ** 32 - 1, 0, 0]);
  });

  test("draws another seed for each request without one", () => {
    const seeds = new Set(Array.from({ length: 20 }, () => samplingRecord()[5]));
    expect(seeds.size).toBeGreaterThan(10);
  });
});

describe("samplingRecord refuses", () => {
  test("every value that the library could not use, and names all of them", () => {
    const bad = {
      temperature: NaN,
      topK: 1.5,
      topP: 2,
      minP: -1,
      repeatPenalty: 0,
      repeatLastN: -2,
      seed: 2 ** 32,
    };
    const fields = (): string[] => {
      try {
        samplingRecord(bad);
      } catch (error) {
        if (error instanceof RequestError) return error.fields.map((f) => f.field);
      }
      return [];
    };
    expect(fields()).toEqual(Object.keys(bad));
  });
});
