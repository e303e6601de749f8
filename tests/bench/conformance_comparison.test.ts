/** Servers side by side: the print, and the servers that the kit starts itself. */
import { describe, expect, it } from "bun:test";
import type { Finding } from "../../bench/conformance/check.ts";
import { remarks, table } from "../../bench/conformance/comparison.ts";
import { HTTP_PEERS, sluiceSubject } from "../../bench/conformance/subjects.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { checkoutRoot } from "../../tools/setup.ts";

const here = "Deno" in globalThis ? "deno" : "bun";

const held = (name: string): Finding => ({ name, outcome: "held", seen: "" });
const ours = { name: "ours", findings: [held("chat a"), held("server bb")] };
const theirs = {
  name: "another",
  findings: [
    { name: "chat a", outcome: "failed", seen: "there are 2" },
    { name: "server bb", outcome: "missing", seen: "no ids" },
  ],
} as const;

describe("table()", () => {
  it("has a row for each rule, a column for each server, and the scores below", () => {
    expect(table([ours, theirs]).split("\n")).toEqual([
      "               ours    another",
      "chat a         ok      FAILED",
      "server bb      ok      missing",
      "all of chat    1 of 1  0 of 1",
      "all of server  1 of 1  0 of 1",
      "all            2 of 2  0 of 2",
    ]);
  });

  it("leaves a cell empty where a rule was not tried", () => {
    const less = { name: "less", findings: [held("server bb")] };
    expect(table([ours, less]).split("\n")[1]).toBe("chat a         ok");
  });
});

describe("remarks()", () => {
  it("tells what was seen where a rule does not hold, and nothing else", () => {
    expect(remarks([ours])).toBe("");
    expect(remarks([ours, theirs]).split("\n")).toEqual([
      "another:",
      "  FAILED  chat a: there are 2",
      "  missing  server bb: no ids",
    ]);
  });
});

describe("sluiceSubject()", () => {
  it("starts a server that has loaded its model, and ends it", async () => {
    const { path } = resolveModel("smollm2");
    const subject = sluiceSubject(here, path, checkoutRoot());
    expect([subject.name, subject.isPeer]).toEqual([`sluice, ${here}`, false]);
    const server = await subject.start();
    const health = await fetch(`${server.url}/health`);
    expect(health.status).toBe(200);
    await health.arrayBuffer();
    await server[Symbol.asyncDispose]();
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
  }, 60_000);

  it("says what a server said that ended instead", async () => {
    const subject = sluiceSubject(here, "/no/such/model.gguf", checkoutRoot());
    await expect(subject.start()).rejects.toThrow("/no/such/model.gguf");
  }, 60_000);
});

describe("HTTP_PEERS", () => {
  it("are those that can be asked over HTTP", () => {
    expect(HTTP_PEERS.map(({ key }) => key)).toEqual(["llama"]);
  });
});
