import { describe, expect, it } from "bun:test";
import { setUpModel } from "../../src/store/package_source.ts";

describe("setUpModel()", () => {
  it("runs the set-up of the checkout, which has nothing to do where the model is", async () => {
    await setUpModel('pull "smollm2"', new AbortController().signal);
  });

  it("stops it when aborted, with the reason", async () => {
    const stopped = new Error("enough");
    await expect(setUpModel("pull", AbortSignal.abort(stopped))).rejects.toBe(stopped);
    const stopper = new AbortController();
    const running = setUpModel("pull", stopper.signal);
    stopper.abort(stopped);
    await expect(running).rejects.toBe(stopped);
  });
});
