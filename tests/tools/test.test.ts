import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RUNTIMES } from "../../tools/runtimes.ts";
import { compareRuntimes, forbidSkips, type Result, runFile, summary } from "../../tools/test.ts";

/** Test files that end in every way in which a file can end. */
const FILES: Record<string, string> = {
  mixed: `
    import { afterAll, beforeAll, describe, expect, it } from "bun:test";
    describe("outer", () => {
      it("passes", () => {});
      it("fails & says <why>", () => expect(1).toBe(2));
      it.skipIf(true)("needs redis", () => {});
      it.todo("is to be written");
      it("is too slow", () => new Promise((resolve) => setTimeout(resolve, 30_000)), 50);
      describe("inner", () => it.each([1, 2])("passes %d", () => {}));
      describe.skip("left out", () => {
        beforeAll(() => { throw new Error("must not run"); });
        describe("deeper", () => it("is skipped", () => {}));
      });
    });
    describe("broken hook", () => {
      afterAll(() => { throw new Error("late"); });
      it("passes all the same", () => {});
    });`,
  crash: `
    import { it } from "bun:test";
    import process from "node:process";
    it("passes", () => {});
    it("aborts", () => process.abort());`,
  load: `throw new Error("no test is registered");`,
  rejection: `
    import { it } from "bun:test";
    it("passes", () => { Promise.reject(new Error("nobody waits for it")); });`,
  empty: `export {};`,
};

describe.each([...RUNTIMES])("runFile() on %s", (runtime) => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-runner-"));
    for (const [name, text] of Object.entries(FILES)) {
      await writeFile(join(folder, `${name}.test.ts`), text);
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  const run = async (name: string): Promise<Record<string, string>> => {
    const { cases } = await runFile(runtime, join(folder, `${name}.test.ts`));
    return Object.fromEntries(cases.map(({ name, outcome }) => [name, outcome]));
  };

  it("tells every test's outcome by its full name", async () => {
    const brokenHook = runtime === "bun" ? "broken hook > (unnamed)" : "broken hook";
    expect(await run("mixed")).toEqual({
      "outer > passes": "passed",
      "outer > fails & says <why>": "failed",
      "outer > needs redis": "skipped",
      "outer > is to be written": "skipped",
      "outer > is too slow": "failed",
      "outer > inner > passes 1": "passed",
      "outer > inner > passes 2": "passed",
      "outer > left out > deeper > is skipped": "skipped",
      "broken hook > passes all the same": "passed",
      [brokenHook]: "failed",
    });
  }, 60_000);

  it("fails a file whose process crashes", async () => {
    expect(Object.values(await run("crash"))).toContain("failed");
  }, 60_000);

  it("fails a file that cannot be loaded", async () => {
    expect(Object.values(await run("load"))).toEqual(["failed"]);
  }, 60_000);

  it("fails a file that leaves a rejection behind", async () => {
    expect(Object.values(await run("rejection"))).toContain("failed");
  }, 60_000);

  it("fails a file without a test", async () => {
    expect(Object.values(await run("empty"))).toEqual(["failed"]);
  }, 60_000);
});

const result = (name: string, change: Partial<Result> = {}): Result => ({
  name,
  outcome: "passed",
  stage: "bun",
  file: "tests/a.test.ts",
  ...change,
});

describe("compareRuntimes()", () => {
  it("fails a file that has more tests on one runtime", () => {
    const results = [result("a"), result("b"), result("a", { stage: "deno" })];
    expect(compareRuntimes(results).map(({ outcome }) => outcome)).toEqual(["failed"]);
  });

  it("says nothing where the counts agree, a runtime was left out, or a test failed", () => {
    const failed = result("a", { outcome: "failed" });
    expect(compareRuntimes([result("a"), result("a", { stage: "deno" })])).toEqual([]);
    expect(compareRuntimes([result("a")])).toEqual([]);
    expect(compareRuntimes([failed, result("b"), result("b", { stage: "deno" })])).toEqual([]);
  });
});

describe("forbidSkips()", () => {
  const skipped = result("store > needs redis", { outcome: "skipped" });

  it("fails a skipped test that is not listed", () => {
    expect(forbidSkips([skipped], "# none\n")[0]?.outcome).toBe("failed");
  });

  it("lets one pass that is listed with its reason", () => {
    const [kept] = forbidSkips([skipped], "store > needs redis | no server here\n");
    expect(kept?.outcome).toBe("skipped");
  });
});

describe("summary()", () => {
  it("names the skipped only where there are any", () => {
    const results = [result("a"), result("b", { outcome: "failed" })];
    expect(summary(results)).toBe("1 passed, 1 failed");
    const skipped = result("c", { outcome: "skipped" });
    expect(summary([...results, skipped])).toBe("1 passed, 1 failed, 1 skipped");
  });
});
