/**
 * Sampling options as the record of eight numbers that `sluice_sample` reads.
 *
 * @module
 */
import { RequestError } from "../errors.ts";
import type { SamplingOptions } from "./generator.ts";

/** Values of the options that a request leaves out. */
export const samplingDefaults: Required<Omit<SamplingOptions, "seed">> = {
  temperature: 0.8,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  repeatPenalty: 1,
  repeatLastN: 64,
};

/** What each option must be; a bad number must not reach native code. */
const RULES: Readonly<Record<keyof SamplingOptions, [(x: number) => boolean, string]>> = {
  temperature: [(x) => Number.isFinite(x) && x >= 0, "a number from 0 up"],
  topK: [(x) => Number.isInteger(x) && x >= 0 && x < 2 ** 31, "an integer from 0 up"],
  topP: [(x) => x >= 0 && x <= 1, "a number from 0 to 1"],
  minP: [(x) => x >= 0 && x <= 1, "a number from 0 to 1"],
  repeatPenalty: [(x) => Number.isFinite(x) && x > 0, "a number above 0"],
  repeatLastN: [(x) => Number.isInteger(x) && x >= -1 && x < 2 ** 31, "an integer from -1 up"],
  seed: [(x) => Number.isInteger(x) && x >= 0 && x < 2 ** 32, "an integer of 32 bits"],
};

/** The same options with a seed; one is drawn where there is none. */
export function withSeed(options: SamplingOptions = {}): SamplingOptions & { seed: number } {
  return { ...options, seed: options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]! };
}

/**
 * temperature, top_k, top_p, min_p, repeat_penalty, seed, position, 0. Without a seed one is drawn.
 *
 * @throws {RequestError} that names every option that is not acceptable
 */
export function samplingRecord(options: SamplingOptions = {}): Float64Array {
  const all = { ...samplingDefaults, ...withSeed(options) };
  const fields = Object.entries(RULES).flatMap(([field, [fits, expected]]) => {
    const value = all[field as keyof SamplingOptions];
    return fits(value) ? [] : [{ field, message: `is ${value}, expected ${expected}` }];
  });
  if (fields.length > 0) {
    const names = fields.map(({ field, message }) => `${field} ${message}`).join("; ");
    throw new RequestError(`Cannot start the generation: ${names}`, fields);
  }
  const { temperature, topK, topP, minP, repeatPenalty, seed } = all;
  return Float64Array.of(temperature, topK, topP, minP, repeatPenalty, seed, 0, 0);
}
