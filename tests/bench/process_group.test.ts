import { describe, expect, it } from "bun:test";
import { once } from "node:events";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { ProcessGroup } from "../../bench/process_group.ts";

const isLinux = process.platform === "linux";
/** A shell with a child that computes, started when it prints a line. */
const busyChild = "sh -c 'while :; do :; done' & echo started; wait";

async function started(): Promise<ProcessGroup> {
  const group = ProcessGroup.start("the loop", ["sh", "-c", busyChild]);
  await once(group.output, "data");
  return group;
}

/** Waits until the CPU time of a group grows. */
async function computes(group: ProcessGroup): Promise<void> {
  for (const before = group.cpuMs(); group.cpuMs() === before;) await sleep(5);
}

describe.skipIf(!isLinux)("ProcessGroup (needs the /proc of Linux)", () => {
  it("cpuMs() counts what the children of the program compute", async () => {
    await using group = await started();
    await computes(group);
    expect(group.cpuMs()).toBeGreaterThan(0);
  });

  it("pause() takes the children off the CPU until resume()", async () => {
    await using group = await started();
    await computes(group);
    group.pause();
    await sleep(20);
    const paused = group.cpuMs();
    await sleep(60);
    expect(group.cpuMs()).toBe(paused);
    group.resume();
    await computes(group);
  });

  it("memory() adds up the processes", async () => {
    await using group = await started();
    const { residentBytes, peakBytes } = group.memory();
    expect(residentBytes).toBeGreaterThan(500_000);
    expect(peakBytes).toBeGreaterThanOrEqual(residentBytes);
  });

  it("disposing ends a program that is paused, with its children", async () => {
    const group = await started();
    group.pause();
    await group[Symbol.asyncDispose]();
    expect(group.memory().residentBytes).toBe(0);
    expect(() => group.expectAlive()).toThrow("Cannot measure the loop: it ended");
  });
});
