/** The command line's log: levels by category, and the two ways in which records are written. */
import { afterEach, describe, expect, it } from "bun:test";
import { getLogger, resetSync } from "@logtape/logtape";
import { configureLog, thresholdsOf } from "../../src/cli/log.ts";

function lines(format: string, log: string, variable?: string): string[] {
  const written: string[] = [];
  configureLog({ log, "log-format": format }, variable ?? "", (line) => written.push(line));
  for (const part of ["server", "stream"]) {
    getLogger(["sluice", part]).info("request", { method: "GET", route: "/health" });
    getLogger(["sluice", part]).debug("reader joined", { seq: 1 });
  }
  return written;
}

describe("thresholdsOf()", () => {
  it.each([
    ["info", "", [["sluice", "info"]]],
    ["warn", "", [["sluice", "warning"]]],
    ["off", "", [["sluice", null]]],
    ["info", "debug", [["sluice", "debug"]]],
    [
      "info",
      "sluice.stream=debug, sluice.store=off",
      [["sluice", "info"], ["sluice.stream", "debug"], ["sluice.store", null]],
    ],
  ])("of --log %s and SLUICE_LOG=%s is %j", (level, variable, expected) => {
    expect(JSON.stringify([...thresholdsOf(level, variable)])).toBe(JSON.stringify(expected));
  });

  it.each([
    ["loud", "", "--log loud"],
    ["info", "sluice.kitchen=debug", "SLUICE_LOG=sluice.kitchen=debug"],
    ["info", "sluice.stream=loud", "loud"],
    ["info", "sluice.stream=debug=info", "LEVEL or CATEGORY=LEVEL"],
  ])("refuses --log %s with SLUICE_LOG=%s", (level, variable, sentence) => {
    expect(() => thresholdsOf(level, variable)).toThrow(sentence);
  });
});

describe("configureLog()", () => {
  afterEach(() => resetSync());

  it("writes one line of text for each record, with its properties", () => {
    const [first, ...more] = lines("text", "info");
    expect(first).toMatch(/level=info .*sluice\.server .*request.*route=\/health.*\n$/);
    expect(more.length).toBe(1);
  });

  it("writes lines of JSON", () => {
    const [first] = lines("json", "info").map((line) => JSON.parse(line));
    expect(first).toMatchObject({
      level: "INFO",
      logger: "sluice.server",
      message: "request",
      route: "/health",
    });
  });

  it("lets one category say more than the others", () => {
    const written = lines("json", "warning", "sluice.stream=debug").map((line) => JSON.parse(line));
    expect(written.map(({ logger, level }) => [logger, level])).toEqual([
      ["sluice.stream", "INFO"],
      ["sluice.stream", "DEBUG"],
    ]);
  });

  it("is silent with off", () => {
    expect(lines("text", "off")).toEqual([]);
  });

  it("refuses an unknown format", () => {
    expect(() => lines("xml", "info")).toThrow("--log-format xml: expected text or json");
  });
});
