import { describe, expect, it } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "../../../src/errors.ts";
import { onPath, run, type RunOptions, succeeds } from "../../../tools/setup/command.ts";
import { lives, until, Workplace } from "./workplace.ts";

const options = (place: Workplace, more: Partial<RunOptions> = {}): RunOptions => ({
  purpose: "test",
  cwd: place.root,
  signal: place.signal,
  ...more,
});

const shell = (place: Workplace, script: string, more?: Partial<RunOptions>): Promise<string> =>
  run(["/bin/sh", "-c", script], options(place, more));

async function failure(promise: Promise<unknown>): Promise<Error> {
  return await promise.then(() => new Error("it did not fail"), (error) => error as Error);
}

describe("onPath()", () => {
  it("finds what can run, and nothing else", () => {
    using place = new Workplace();
    place.script("tool", "exit 0");
    writeFileSync(join(place.programs, "text"), "not a program");
    expect(onPath("tool")).toBe(join(place.programs, "tool"));
    expect(onPath("text")).toBe(undefined);
    expect(onPath("absent")).toBe(undefined);
  });
});

describe("run()", () => {
  it("gives what the program prints, and logs both streams", async () => {
    using place = new Workplace();
    const log = join(place.folder, "log");
    expect(await shell(place, "echo out; echo err >&2", { log })).toBe("out\n");
    expect(readFileSync(log, "utf8").split("\n").sort()).toEqual(["", "err", "out"]);
  });

  it("sets and removes variables", async () => {
    using place = new Workplace();
    const env = { SLUICE_TEST: "set", HOME: undefined };
    expect(await shell(place, "echo $SLUICE_TEST ${HOME-none}", { env })).toBe("set none\n");
  });

  it("fails with one sentence: the purpose, the telling line, the advice and the log", async () => {
    using place = new Workplace();
    const log = join(place.folder, "log");
    const script = "echo 'ERROR: No matching thing' >&2; echo 'bye' >&2; exit 3";
    const error = await failure(shell(place, script, { log, advice: "check the network" }));
    expect(error).toBeInstanceOf(SetupError);
    expect(error.message).toBe(
      'Cannot test: /bin/sh ended with 3 and said "ERROR: No matching thing"; ' +
        `check the network; its output is in ${log}`,
    );
  });

  it("names a program that does not start", async () => {
    using place = new Workplace();
    const error = await failure(run(["/nowhere/at/all"], options(place)));
    expect(error).toBeInstanceOf(SetupError);
    expect(error.message).toContain("Cannot test: /nowhere/at/all does not start");
  });

  it("ends the program and its children when aborted, and rejects with the reason", async () => {
    using place = new Workplace();
    const script = "/bin/sleep 20 & echo $! > new; /bin/mv new pid; wait";
    const running = failure(shell(place, script));
    await until(() => existsSync(join(place.root, "pid")));
    const pid = Number(readFileSync(join(place.root, "pid"), "utf8"));
    expect(lives(pid)).toBe(true);
    place.stopper.abort(new Error("enough"));
    expect((await running).message).toBe("enough");
    await until(() => !lives(pid));
  });

  it("ends a program that ignores the request", async () => {
    using place = new Workplace();
    const script = "trap '' TERM; echo > started; while :; do /bin/sleep 0.05; done";
    const running = failure(shell(place, script, { patienceMs: 50 }));
    await until(() => existsSync(join(place.root, "started")));
    place.stopper.abort(new Error("enough"));
    expect((await running).message).toBe("enough");
  });

  it("starts nothing when aborted before", async () => {
    using place = new Workplace();
    place.stopper.abort(new Error("enough"));
    expect((await failure(shell(place, "touch ran"))).message).toBe("enough");
    expect(existsSync(join(place.root, "ran"))).toBe(false);
  });
});

describe("succeeds()", () => {
  it("tells whether a program ends with zero within its time", async () => {
    using place = new Workplace();
    expect(await succeeds(["/bin/sh", "-c", "exit 0"], place.signal)).toBe(true);
    expect(await succeeds(["/bin/sh", "-c", "exit 1"], place.signal)).toBe(false);
    expect(await succeeds(["/nowhere/at/all"], place.signal)).toBe(false);
    expect(await succeeds(["/bin/sh", "-c", "exec /bin/sleep 20"], place.signal, 50)).toBe(false);
  });
});
