import { describe, expect, it } from "bun:test";
import process from "node:process";
import { runCommand } from "../../tools/process.ts";

const shell = (script: string, limitMs = 20_000, env: Record<string, string> = {}) =>
  runCommand(["/bin/sh", "-c", script], { limitMs, env });

describe("runCommand()", () => {
  it("gives what the command printed on both streams, and that it ended well", async () => {
    const ended = await shell("echo $COLOR; echo err >&2", 20_000, { COLOR: "blue" });
    expect(ended.ok).toBe(true);
    expect(ended.output.split("\n").sort()).toEqual(["", "blue", "err"]);
  });

  it("tells the exit code", async () => {
    expect(await shell("exit 3")).toMatchObject({ ok: false, how: "exit code 3" });
  });

  it("tells the signal", async () => {
    expect(await shell("kill -ABRT $$")).toMatchObject({ ok: false, how: "SIGABRT" });
  });

  // A sleep that lived on would hold the output open, and the command would end with it.
  it("ends a command that runs into the limit, with its children", async () => {
    const ended = await shell("sleep 15 & wait", 300);
    expect(ended).toMatchObject({ ok: false, how: "no end after 0.3 s" });
    expect(ended.seconds).toBeLessThan(10);
  });

  it("ends what a command leaves behind", async () => {
    const ended = await shell("sleep 15 &");
    expect(ended.ok).toBe(true);
    expect(ended.seconds).toBeLessThan(10);
  });

  it("rejects where the command cannot be started", async () => {
    const started = runCommand(["/nowhere/at/all"], { limitMs: 1000 });
    await expect(started).rejects.toThrow("ENOENT");
    expect(process.listenerCount("SIGINT")).toBe(0);
  });
});
