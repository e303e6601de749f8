/**
 * A set-up in a process of its own, with one step that waits for the file `go` in the checkout:
 * the tests interrupt it, kill it and start it twice. Arguments: checkout, cache.
 *
 * @module
 */
import { appendFileSync, existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { runMain, setUp } from "../../../tools/setup.ts";
import { run } from "../../../tools/setup/command.ts";
import type { Step } from "../../../tools/setup/step.ts";

const [root = "", cache = ""] = process.argv.slice(2);

const slow: Step = {
  name: "slow",
  brings: "a slow thing",
  fetchBytes: 1,
  diskBytes: 1,
  memoryBytes: 1,
  after: [],
  ready: () => existsSync(join(cache, "thing")),
  missing: () => Promise.resolve([]),
  async run(site) {
    const half = join(site.temp, "thing");
    writeFileSync(half, "half");
    appendFileSync(join(root, "runs"), "run\n");
    const script = "echo $$ > pid.new; mv pid.new pid; until [ -e go ]; do sleep 0.02; done";
    await run(["/bin/sh", "-c", script], { purpose: "wait", cwd: root, signal: site.signal });
    writeFileSync(half, "whole");
    renameSync(half, join(cache, "thing"));
  },
};

if (import.meta.main) {
  await runMain(async () => {
    await setUp({ steps: [slow], offline: false, root, cache, output: process.stderr });
    return 0;
  });
}
