/** EventLog: indexed by seq, bounded by bytes. */
import { describe, expect, it } from "bun:test";
import { EventLog } from "../../src/stream/log.ts";
import { complete, START, token } from "../support/mock_generator.ts";

describe("EventLog", () => {
  it("gives each event the next seq, and reads from any of them", () => {
    const log = new EventLog(1 << 20);
    expect([START, token("a", 1), token("b", 2)].map((event) => log.append(event))).toEqual([
      0,
      1,
      2,
    ]);
    expect(log.read(1, 10)).toEqual([token("a", 1), token("b", 2)]);
    expect(log.read(1, 1)).toEqual([token("a", 1)]);
    expect(log.read(3, 10)).toEqual([]);
    expect(log.end).toBe(3);
  });

  it("has ended with the terminal event", () => {
    const log = new EventLog(1 << 20);
    log.append(START);
    expect(log.ended).toBe(false);
    log.append(complete(0));
    expect(log.ended).toBe(true);
  });

  it("keeps its bytes within the limit, whatever is appended, and drops the oldest", () => {
    const log = new EventLog(10_000);
    for (let seq = 0; seq < 5000; seq++) {
      log.append(token("x".repeat(seq % 50), seq));
      expect(log.bytes).toBeLessThanOrEqual(10_000);
    }
    expect(log.end).toBe(5000);
    expect(log.first).toBeGreaterThan(4900);
    expect(log.read(log.first - 1, 10)).toEqual([]);
    expect(log.read(log.first, 1)).toEqual([token("x".repeat(log.first % 50), log.first)]);
  });

  it("tells how many events it drops", () => {
    let dropped = 0;
    const log = new EventLog(10_000, 7, (events) => dropped += events);
    for (let seq = 7; seq < 500; seq++) {
      log.append(token("x", seq));
      expect(log.first).toBe(7 + dropped);
    }
    expect(dropped).toBeGreaterThan(400);
  });

  it("keeps the newest event even where it alone is too large", () => {
    const log = new EventLog(100);
    log.append(token("x".repeat(1000), 0));
    log.append(token("y".repeat(1000), 1));
    expect(log.read(1, 1)).toEqual([token("y".repeat(1000), 1)]);
    expect(log.first).toBe(1);
  });

  it("wakes everybody who waits at one append", async () => {
    const log = new EventLog(1000);
    const waiting = Array.from({ length: 100 }, () => log.changed());
    log.append(START);
    await Promise.all(waiting);
    expect(log.end).toBe(1);
  });

  it("begins at the seq that it is told", () => {
    const log = new EventLog(1000, 41);
    expect(log.append(token("a", 41))).toBe(41);
    expect(log.first).toBe(41);
  });
});
