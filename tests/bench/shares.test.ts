import { describe, expect, it } from "bun:test";
import type { Roofline } from "../../bench/roofline.ts";
import { listScenarios } from "../../bench/scenarios.ts";
import { MACHINE, rooflineSamples, shareSamples } from "../../bench/shares.ts";
import type { Work } from "../../bench/work.ts";

const line: Roofline = {
  threads: 2,
  readGbS: 30,
  int8Gops: 1000,
  int4Gops: 1600,
  f32Gflops: 125,
  bf16Gflops: 250,
  int8Instruction: "vpdpbusd zmm",
};
const work: Work = {
  fileBytes: 100e6,
  weightBytes: 90e6,
  cacheBytes: 20_000,
  linearOps: 2e8,
  weights: "bytes",
};
const scenarios = listScenarios();

/** The shares of one value of a scenario's first figure. */
function sharesOf(name: string, value: number, model = work, room = 0) {
  const { figures } = scenarios.find((scenario) => scenario.name === name)!;
  const figure = figures.at(name === "memory" ? -1 : 0)!;
  const samples = [
    ...rooflineSamples(line, 0),
    ...rooflineSamples({ ...line, readGbS: 15, int8Gops: 500, bf16Gflops: 10 }, 1),
    ...[0, 1].map((round) => ({ figure, entrant: "ours", round, value })),
  ];
  return shareSamples(samples, scenarios, model, room);
}

describe("rooflineSamples()", () => {
  it("gives a figure each to bytes read, products of codes and bytes, and the faster floats", () => {
    const samples = rooflineSamples(line, 3);
    expect(samples.map(({ value }) => value)).toEqual([30, 1600, 1000, 250]);
    expect(samples.every(({ entrant, round }) => entrant === MACHINE && round === 3)).toBe(true);
  });
});

describe("shareSamples()", () => {
  it("holds decoding against the bandwidth of the same round", () => {
    const shares = sharesOf("depth-0", 100);
    // 90 MB of weights and the cache of 16 + 64 tokens.
    expect(shares.map(({ value }) => value)).toEqual([30.53333333333333, 61.06666666666666]);
    expect(shares[0]?.figure).toMatchObject({
      name: "decode at depth 0, of the memory's roof",
      unit: "%",
      compared: false,
    });
  });

  it("counts what a deep context reads of the cache", () => {
    const [share] = sharesOf("depth-2048", 100);
    expect(share?.value).toBeCloseTo((90e6 + 20_000 * (2048 + 64)) * 100 / 30e9 * 100, 9);
  });

  it("holds the core alone against the same bandwidth", () => {
    const [share] = sharesOf("ticks", 300);
    // The cache of 16 + 16 tokens.
    expect(share?.value).toBeCloseTo((90e6 + 20_000 * 32) * 300 / 30e9 * 100, 9);
    expect(share?.figure.name).toBe("decode by the core alone, of the memory's roof");
  });

  it("holds a prompt against the highest peak of what multiplies its weights", () => {
    expect(sharesOf("prefill-512", 2500).map(({ value }) => value)).toEqual([50, 50]);
    const codes = sharesOf("prefill-512", 4000, { ...work, weights: "codes" })[0];
    expect(codes).toMatchObject({ value: 50 });
    expect(codes?.figure.name).toContain("of the peak of products of codes of four bits");
    const floats = sharesOf("prefill-512", 625, { ...work, weights: "floats" })[0];
    expect(floats).toMatchObject({ value: 50 });
    expect(floats?.figure.name).toBe("prefill of 512 tokens, of the peak of products of floats");
  });

  it("holds the products of the linear layers against the same peak", () => {
    expect(sharesOf("linear", 650)[0]).toMatchObject({
      value: 65,
      figure: {
        name: "products of linear layers alone, 512 tokens, of the peak of products of bytes",
      },
    });
  });

  it("divides the most memory by the file and the cache that everybody was given", () => {
    const [share] = sharesOf("memory", 220, work, 5000);
    expect(share?.value).toBeCloseTo(110, 9);
    expect(share?.figure.better).toBe("less");
  });

  it("gives none where the roofline was not measured", () => {
    const { figures } = scenarios.find(({ name }) => name === "depth-0")!;
    const alone = [{ figure: figures[0]!, entrant: "ours", round: 0, value: 100 }];
    expect(shareSamples(alone, scenarios, work, 0)).toEqual([]);
  });
});
