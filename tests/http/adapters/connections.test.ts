import { describe, expect, it } from "bun:test";
import { EventEmitter } from "node:events";
import {
  backlogMax,
  Connections,
  connectionsMax,
  descriptorsMax,
} from "../../../src/server/adapters/connections.ts";

class FakeConnection extends EventEmitter {
  isClosed = false;

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.emit("close");
  }
}

function filled(max: number): { connections: Connections; all: FakeConnection[] } {
  const connections = new Connections(max);
  const all = Array.from({ length: max }, () => new FakeConnection());
  for (const connection of all) connections.add(connection);
  return { connections, all };
}

describe("connectionsMax()", () => {
  it("is half of the descriptors, at least one and at most 20 000", () => {
    expect([1, 256, 1024, 1 << 20].map(connectionsMax)).toEqual([1, 128, 512, 20_000]);
    expect(descriptorsMax()).toBeGreaterThan(2);
  });

  it("leaves room for those that wait to be accepted", () => {
    expect([1, 256, 1024, 1 << 20].map(backlogMax)).toEqual([1, 32, 128, 511]);
  });
});

describe("Connections", () => {
  it("counts those that are open, each once", () => {
    const { connections, all } = filled(3);
    connections.add(all[0]!);
    expect(connections.size).toBe(3);
    all[1]!.destroy();
    expect(connections.size).toBe(2);
  });

  it("closes the one that has waited longest for a new one", () => {
    const { connections, all } = filled(3);
    connections.answer(all[0]!);
    connections.add(new FakeConnection());
    expect(all.map(({ isClosed }) => isClosed)).toEqual([false, true, false]);
    expect(connections.size).toBe(3);
  });

  it("closes the new one where all are being answered", () => {
    const { connections, all } = filled(2);
    for (const connection of all) connections.answer(connection);
    const late = new FakeConnection();
    connections.add(late);
    expect([...all, late].map(({ isClosed }) => isClosed)).toEqual([false, false, true]);
  });

  it("lets one wait again when the last of its answers is over", () => {
    const { connections, all } = filled(1);
    const ends = [connections.answer(all[0]!), connections.answer(all[0]!)];
    ends[0]!();
    ends[0]!();
    connections.add(new FakeConnection());
    expect(all[0]!.isClosed).toBe(false);
    ends[1]!();
    connections.add(new FakeConnection());
    expect(all[0]!.isClosed).toBe(true);
  });

  it("tells when no answer is under way, and when none is open", async () => {
    const { connections, all } = filled(2);
    const [one, two] = all.map((connection) => connections.answer(connection));
    const told: string[] = [];
    const answered = connections.answered().then(() => told.push("answered"));
    const closed = connections.closed().then(() => told.push("closed"));
    one!();
    await Promise.resolve();
    expect(told).toEqual([]);
    two!();
    await answered;
    connections.end();
    await closed;
    expect(told).toEqual(["answered", "closed"]);
  });

  it("forgets the answer of a connection that is gone", async () => {
    const { connections, all } = filled(1);
    const end = connections.answer(all[0]!);
    connections.destroy();
    await connections.answered();
    end();
    expect(connections.size).toBe(0);
  });
});
