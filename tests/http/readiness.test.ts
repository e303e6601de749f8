/** Readiness: loading, loaded, failed, stopping. */
import { describe, expect, it } from "bun:test";
import { ModelError, OverloadedError } from "../../src/errors.ts";
import type { Generator } from "../../src/engine/generator.ts";
import { Readiness } from "../../src/server/readiness.ts";
import { MockGenerator } from "../support/mock_generator.ts";

const silent = (): void => undefined;
const nobody = { loaded: silent, failed: silent };

function refusalOf(readiness: Readiness): unknown {
  try {
    readiness.ready();
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}

describe("Readiness", () => {
  it("of a generator is ready at once", async () => {
    const mock = new MockGenerator();
    const readiness = new Readiness(mock, nobody);
    expect(readiness.ready()).toBe(mock);
    expect(readiness.health).toEqual({ status: "ok", model: "mock" });
    expect(await readiness.loaded).toBe(mock);
  });

  it("of a promise refuses with 429 until it settles", async () => {
    const { promise, resolve } = Promise.withResolvers<Generator>();
    const told: string[] = [];
    const loaded = (model: string): void => void told.push(model);
    const readiness = new Readiness(promise, { ...nobody, loaded });
    expect(readiness.health).toEqual({ status: "loading" });
    expect(readiness.generator).toBe(undefined);
    expect(refusalOf(readiness)).toBeInstanceOf(OverloadedError);
    const mock = new MockGenerator();
    resolve(mock);
    await readiness.loaded;
    expect(readiness.ready()).toBe(mock);
    expect(told).toEqual(["mock"]);
  });

  it("of a promise that fails throws why, and reports it once", async () => {
    const reported: unknown[] = [];
    const failure = new ModelError("Cannot load it");
    const readiness = new Readiness(Promise.reject(failure), {
      ...nobody,
      failed: (thrown) => reported.push(thrown),
    });
    await readiness.loaded.catch(silent);
    expect(refusalOf(readiness)).toBe(failure);
    expect(refusalOf(readiness)).toBe(failure);
    expect(readiness.health).toEqual({ status: "failed" });
    expect(readiness.isLoadFailure(failure)).toBe(true);
    expect(readiness.isLoadFailure(undefined)).toBe(false);
    expect(reported).toEqual([failure]);
  });

  it("drain() refuses from then on, and keeps the generator", () => {
    const mock = new MockGenerator();
    const readiness = new Readiness(mock, nobody);
    readiness.drain();
    expect(readiness.isDraining).toBe(true);
    expect(refusalOf(readiness)).toBeInstanceOf(OverloadedError);
    expect(readiness.health).toEqual({ status: "stopping" });
    expect(readiness.generator).toBe(mock);
  });
});
