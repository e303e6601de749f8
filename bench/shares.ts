/**
 * Samples as shares of what is possible: of the roofline, and of the memory that a model must take.
 * Pure.
 *
 * @module
 */
import type { Roofline } from "./roofline.ts";
import type { Sample } from "./rounds.ts";
import {
  decodeFigure,
  type Figure,
  linearFigures,
  memoryFigures,
  prefillFigure,
  ticksFigure,
} from "./scenarios.ts";
import type { Scenario } from "./scenarios.ts";
import type { Work } from "./work.ts";

/** Whose samples the roofline is. */
export const MACHINE = "this machine";

/** Of two values that are measured at different times only each is worth a line. */
const alone = (name: string, unit: string): Figure => {
  return { name, unit, better: "more", compared: false };
};
const read = alone("memory read", "GB/s");
/** Peaks of the products of weights. */
const peaks: Record<Work["weights"], Figure> = {
  codes: alone("products of codes of four bits", "GOPS"),
  bytes: alone("products of bytes", "GOPS"),
  floats: alone("products of floats", "GFLOPS"),
};

/** A roofline as samples of a round. */
export function rooflineSamples(line: Roofline, round: number): Sample[] {
  const values: [Figure, number][] = [
    [read, line.readGbS],
    [peaks.codes, line.int4Gops],
    [peaks.bytes, line.int8Gops],
    [peaks.floats, Math.max(line.f32Gflops, line.bf16Gflops)],
  ];
  return values.map(([figure, value]) => ({ figure, entrant: MACHINE, round, value }));
}

/** A figure, and what one unit of it would be with nothing lost. */
interface Share {
  readonly of: string;
  readonly figure: Figure;
  /** The share, from a value and its roofs; undefined where one was not measured. */
  readonly percent: (value: number, roof: (figure: Figure) => number | undefined) => number;
}

/**
 * The shares that the samples of one model allow, as samples in percent.
 *
 * Decoding, that of the core alone too, is held against the read bandwidth: each token reads all
 * weights, and the keys and values of all before it. A prompt is held against the peak of the
 * products, with the operations of its linear layers: what attention, norms and the head cost is
 * missing from it. The linear layers alone, and their products alone, are held against the same
 * peak.
 *
 * @param room cells of the cache that everybody was given
 */
export function shareSamples(
  samples: readonly Sample[],
  scenarios: readonly Scenario[],
  work: Work,
  room: number,
): Sample[] {
  const shares = [
    ...scenarios.flatMap((scenario) => shareOf(scenario, work)),
    memoryShare(work, room),
  ];
  // Programs on other processors take bandwidth from ours, so that of the round counts; a peak of
  // products is the processor's own, and a pass below it was disturbed.
  const roofIn = (round: number) => (roof: Figure): number | undefined => {
    const all = samples.filter((sample) => sample.figure.name === roof.name);
    if (roof === read) return all.find((sample) => sample.round === round)?.value;
    return all.length > 0 ? Math.max(...all.map(({ value }) => value)) : undefined;
  };
  return shares.flatMap(({ of, figure, percent }) =>
    samples.filter((sample) => sample.figure.name === of).flatMap(({ entrant, round, value }) => {
      const share = percent(value, roofIn(round));
      return Number.isFinite(share) ? [{ figure, entrant, round, value: share }] : [];
    })
  );
}

function shareOf({ name, load }: Scenario, work: Work): Share[] {
  const { promptTokens, newTokens } = load;
  if (name === "ticks" || name.startsWith("depth-")) {
    const of = name === "ticks" ? ticksFigure : decodeFigure(Number(name.slice("depth-".length)));
    const bytes = work.weightBytes + work.cacheBytes * (promptTokens + newTokens / 2);
    const percent: Share["percent"] = (value, roof) => value * bytes / (roof(read) ?? 0) / 1e7;
    return [{ of, figure: alone(`${of}, of the memory's roof`, "%"), percent }];
  }
  const peak = peaks[work.weights];
  if (name === "linear") {
    const percent: Share["percent"] = (value, roof) => value / (roof(peak) ?? 0) * 100;
    return linearFigures.map((of) => {
      return { of, figure: alone(`${of}, of the peak of ${peak.name}`, "%"), percent };
    });
  }
  if (name.startsWith("prefill-")) {
    const of = prefillFigure(promptTokens);
    const percent: Share["percent"] = (value, roof) =>
      value * work.linearOps / (roof(peak) ?? 0) / 1e7;
    return [{ of, figure: alone(`${of}, of the peak of ${peak.name}`, "%"), percent }];
  }
  return [];
}

function memoryShare({ fileBytes, cacheBytes }: Work, room: number): Share {
  const of = memoryFigures[1];
  const figure: Figure = { ...alone(`${of}, of file and cache`, "%"), better: "less" };
  return { of, figure, percent: (value) => value * 1e8 / (fileBytes + cacheBytes * room) };
}
