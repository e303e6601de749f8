import { describe, expect, it } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { SetupError } from "../../src/errors.ts";
import { pendingSteps, setUp } from "../../tools/setup.ts";
import { model } from "../../tools/setup/model.ts";
import type { Step } from "../../tools/setup/step.ts";
import { runtimeCommand, Workplace, Written } from "./setup/workplace.ts";

/** A step that notes when it runs, and is ready afterwards. */
function step(name: string, log: string[], more: Partial<Step> = {}): Step {
  return {
    name,
    brings: `the ${name}`,
    fetchBytes: 1_000_000,
    diskBytes: 1,
    memoryBytes: 1,
    after: [],
    ready: () => log.includes(`${name} ends`),
    missing: () => Promise.resolve([]),
    async run() {
      log.push(`${name} begins`);
      await new Promise((go) => setTimeout(go, 10));
      log.push(`${name} ends`);
    },
    ...more,
  };
}

interface Outcome {
  readonly text: string;
  readonly did: boolean | Error;
}

async function setUpIn(place: Workplace, steps: Step[], offline = false): Promise<Outcome> {
  process.env.PATH = "/usr/bin:/bin";
  const output = new Written();
  const options = { steps, offline, root: place.root, cache: place.cache, output };
  const did = await setUp(options).catch((error: unknown) => error as Error);
  return { text: output.text, did };
}

describe("setUp()", () => {
  it("says first what is fetched and where, and last how long it took", async () => {
    using place = new Workplace();
    const { text, did } = await setUpIn(place, [step("one", []), step("two", [])]);
    expect(did).toBe(true);
    const [first, last] = text.trim().split("\n");
    expect(first).toBe(
      `Setting up sluice in ${place.cache}: fetching the one, the two (2.0 MB), about 1 min`,
    );
    expect(last).toMatch(/^Set up in \d+ s$/);
  });

  it("prints nothing and makes nothing when all is ready", async () => {
    using place = new Workplace();
    const { text, did } = await setUpIn(place, [step("one", [], { ready: () => true })]);
    expect([text, did]).toEqual(["", false]);
    expect(existsSync(join(place.cache, "setup.lock"))).toBe(false);
  });

  it("runs independent steps side by side, and a step after what it needs", async () => {
    using place = new Workplace();
    const log: string[] = [];
    const [one, two] = [step("one", log), step("two", log)];
    await setUpIn(place, [step("last", log, { after: [one, two] })]);
    expect(log.slice(0, 2)).toEqual(["one begins", "two begins"]);
    expect(log.slice(4)).toEqual(["last begins", "last ends"]);
  });

  it("brings what a step needs only when that step is not ready", async () => {
    using place = new Workplace();
    const log: string[] = [];
    const last = step("last", log, { after: [step("first", log)], ready: () => true });
    await setUpIn(place, [last, step("other", log)]);
    expect(log).toEqual(["other begins", "other ends"]);
  });

  it("stops the other steps at the first failure, gives that one, and cleans up", async () => {
    using place = new Workplace();
    const log: string[] = [];
    const failing = step("bad", log, { run: () => Promise.reject(new SetupError("Cannot go on")) });
    const slow = step("slow", log, {
      run: ({ signal, temp }) =>
        new Promise((_, reject) => {
          writeFileSync(join(temp, "half"), "");
          signal.addEventListener("abort", () => {
            log.push("slow stopped");
            reject(signal.reason);
          });
        }),
    });
    const { did } = await setUpIn(place, [slow, failing, step("last", log, { after: [failing] })]);
    expect(did).toBeInstanceOf(SetupError);
    expect((did as Error).message).toBe("Cannot go on");
    expect(log).toEqual(["slow stopped"]);
    expect(readdirSync(join(place.cache, "tmp"))).toEqual([]);
  });

  it("lists everything missing before it begins any step", async () => {
    using place = new Workplace();
    const log: string[] = [];
    const lacking = (name: string): Step =>
      step(name, log, { missing: () => Promise.resolve([`a tool for ${name}`]) });
    const { did } = await setUpIn(place, [lacking("one"), step("two", log), lacking("three")]);
    expect((did as Error).message).toBe(
      "Cannot set up sluice, missing: a tool for one; a tool for three",
    );
    expect(log).toEqual([]);
  });

  it("offline names what would have to be fetched, and still builds", async () => {
    using place = new Workplace();
    const log: string[] = [];
    const { did } = await setUpIn(place, [step("one", log), step("two", log)], true);
    expect((did as Error).message).toBe(
      `Cannot set up sluice offline: the one, the two would have to be fetched to ${place.cache}, ` +
        "run the set-up once with a network",
    );
    await setUpIn(place, [step("build", log, { fetchBytes: 0 })], true);
    expect(log).toEqual(["build begins", "build ends"]);
  });
});

describe("pendingSteps()", () => {
  it("gives what is not ready, and what that needs, in the order in which it is shown", () => {
    using place = new Workplace();
    const log: string[] = [];
    const last = step("last", log, { after: [model] });
    const site = { ...place, signal: place.signal };
    const wanted = [last, step("ready", log, { ready: () => true }), model];
    expect(pendingSteps(site, wanted).map(({ name }) => name)).toEqual(["last", "model"]);
  });
});

describe("tools/setup.ts", () => {
  const program = fileURLToPath(new URL("../../tools/setup.ts", import.meta.url));
  const start = (place: Workplace, ...args: string[]) => {
    const [runtime = "", ...flags] = runtimeCommand();
    return spawnSync(runtime, [...flags, program, ...args], {
      encoding: "utf8",
      env: { ...process.env, SLUICE_CACHE: place.cache },
    });
  };

  it("--help says what it does, where the cache is, and ends well", () => {
    using place = new Workplace();
    const { status, stdout } = start(place, "--help");
    expect(status).toBe(0);
    expect(stdout).toContain(`SLUICE_CACHE   the cache folder (now ${place.cache})`);
  });

  it("--only refuses a step that does not exist", () => {
    using place = new Workplace();
    const { status, stderr } = start(place, "--only", "zig,gml");
    expect(status).toBe(1);
    expect(stderr).toBe(
      'Cannot set up "gml": expected one of zig, ggml, model, packages, jsr, library\n',
    );
  });

  it("without any tool names all of them in one line, and fetches nothing", () => {
    using place = new Workplace();
    const { status, stderr } = start(place, "--only", "model,zig");
    expect(status).toBe(1);
    expect(stderr.trim().split("\n").at(-1)).toMatch(/^Cannot set up sluice, missing: python3 /);
    expect(existsSync(join(place.cache, "models"))).toBe(false);
  });

  it("--offline with an empty cache is one sentence", () => {
    using place = new Workplace();
    const { status, stderr } = start(place, "--offline", "--only", "model");
    expect(status).toBe(1);
    expect(stderr).toBe(
      "Cannot set up sluice offline: the model SmolLM2-135M would have to be fetched to " +
        `${place.cache}, run the set-up once with a network\n`,
    );
  });
});
