/**
 * Sampling options as the record of eight numbers that `sluice_sample` reads.
 *
 * @module
 */
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

/**
 * temperature, top_k, top_p, min_p, repeat_penalty, seed, position, 0. Without a seed one is drawn.
 */
export function samplingRecord(options: SamplingOptions = {}): Float64Array {
  const { temperature, topK, topP, minP, repeatPenalty } = { ...samplingDefaults, ...options };
  const seed = options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!;
  return Float64Array.of(temperature, topK, topP, minP, repeatPenalty, seed, 0, 0);
}
