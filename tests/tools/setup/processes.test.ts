import { describe, expect, it } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { lives, runtimeCommand, until, Workplace } from "./workplace.ts";

const program = fileURLToPath(new URL("slow_setup.ts", import.meta.url));

class Running {
  readonly child: ChildProcess;
  readonly exit: Promise<unknown[]>;
  text = "";

  constructor(place: Workplace) {
    const [runtime = "", ...args] = runtimeCommand();
    this.child = spawn(runtime, [...args, program, place.root, place.cache], {
      env: { ...process.env, PATH: "/usr/bin:/bin" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => this.text += text);
    this.exit = once(this.child, "close");
  }

  async saying(text: string): Promise<void> {
    await until(() => this.text.includes(text));
  }
}

/** Starts a set-up and waits for its step to be at work. */
async function startSlow(place: Workplace): Promise<{ setup: Running; pid: number }> {
  const setup = new Running(place);
  const file = join(place.root, "pid");
  await until(() => existsSync(file));
  return { setup, pid: Number(readFileSync(file, "utf8")) };
}

const leftovers = (place: Workplace): string[] => readdirSync(join(place.cache, "tmp"));
const runs = (place: Workplace): number =>
  readFileSync(join(place.root, "runs"), "utf8").split("\n").length - 1;

describe("two set-ups at once", () => {
  it("do the work once: the second waits, says so, and finds it done", async () => {
    using place = new Workplace();
    const { setup: first } = await startSlow(place);
    const second = new Running(place);
    await second.saying(`Another set-up is at work (process ${first.child.pid})`);
    place.write("go", "");
    expect(await first.exit).toEqual([0, null]);
    expect(await second.exit).toEqual([0, null]);
    expect(runs(place)).toBe(1);
    expect(readFileSync(join(place.cache, "thing"), "utf8")).toBe("whole");
    expect(leftovers(place)).toEqual([]);
  });
});

describe("an interrupted set-up", () => {
  it.each([["SIGINT", 130], ["SIGTERM", 143]] as const)(
    "ends its children on %s, leaves nothing half-made, and says how to go on",
    async (signal, code) => {
      using place = new Workplace();
      const { setup, pid } = await startSlow(place);
      process.kill(setup.child.pid ?? 0, signal);
      expect(await setup.exit).toEqual([code, null]);
      expect(setup.text).toContain(`interrupted by ${signal}: run it again to go on`);
      await until(() => !lives(pid));
      expect(existsSync(join(place.cache, "thing"))).toBe(false);
      expect(leftovers(place)).toEqual([]);
    },
  );

  it("that was killed is cleaned up and done again by the next", async () => {
    using place = new Workplace();
    const { setup, pid } = await startSlow(place);
    setup.child.kill("SIGKILL");
    await setup.exit;
    expect(leftovers(place)).toEqual([String(setup.child.pid)]);
    process.kill(pid, "SIGKILL");
    place.write("go", "");
    const next = new Running(place);
    expect(await next.exit).toEqual([0, null]);
    expect(next.text).toContain("Set up in");
    expect(readFileSync(join(place.cache, "thing"), "utf8")).toBe("whole");
    expect(leftovers(place)).toEqual([]);
  });
});

describe("a finished set-up", () => {
  it("prints nothing and takes no lock", async () => {
    using place = new Workplace();
    place.write("go", "");
    expect(await new Running(place).exit).toEqual([0, null]);
    const again = new Running(place);
    expect(await again.exit).toEqual([0, null]);
    expect(again.text).toBe("");
  });
});
