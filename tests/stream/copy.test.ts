/** StoredCopy: what is published is kept first; a failing store is caught up with or given up. */
import { describe, expect, it } from "bun:test";
import { StoredCopy, StoreTimeoutError } from "../../src/stream/copy.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { EventLog } from "../../src/stream/log.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { complete, START, token } from "../support/mock_generator.ts";

const ID = "0".repeat(32);

async function make(bytesMax = 1 << 20) {
  const store = new MemoryStore();
  await store.create({ id: ID, owner: "", createdAt: 0, request: null });
  const log = new EventLog(bytesMax);
  const failures: unknown[] = [];
  const report = (failure: unknown): void => void failures.push(failure);
  const copy = new StoredCopy({ id: ID, store, log, storeTimeoutMs: 20, report });
  const publish = async (event: StreamEvent): Promise<void> => {
    if (await copy.keep(event)) log.append(event);
  };
  const kept = (): StreamEvent[] => store.events.get(ID)!;
  return { store, log, copy, publish, kept, failures };
}

/** Resolves once the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe("StoredCopy", () => {
  it("has an event before it is published", async () => {
    const { copy, log, kept } = await make();
    expect(await copy.keep(START)).toBe(true);
    expect([kept(), log.end, copy.isWhole]).toEqual([[START], 0, true]);
  });

  it("falls behind a store that fails, says so once, and is whole when it is back", async () => {
    const { store, copy, publish, kept, failures } = await make();
    await publish(START);
    store.failure = new Error("disk full");
    await publish(token("a", 1));
    await publish(token("b", 2));
    expect([copy.isWhole, failures]).toEqual([false, [store.failure]]);
    expect(copy.store).toBe(store);
    store.failure = undefined;
    await until(() => copy.isWhole);
    await publish(complete(2));
    expect(kept()).toEqual([START, token("a", 1), token("b", 2), complete(2)]);
  });

  it("waits for a store so long and no longer", async () => {
    const { store, publish, failures } = await make();
    store.gate = new Promise(() => undefined);
    await publish(START);
    expect(failures[0]).toBeInstanceOf(StoreTimeoutError);
  });

  it("refuses an event where another process that shares its store has appended one", async () => {
    const { store, copy, publish, log } = await make();
    store.shared = true;
    await publish(START);
    await store.append(ID, 1, [token("other", 1)]);
    expect(await copy.keep(token("mine", 1))).toBe(false);
    log.append(token("other", 1));
    copy.adopt();
    expect(await copy.keep(token("next", 2))).toBe(true);
  });

  it("takes an event that another process has appended for its own where they are the same", async () => {
    const { store, copy, publish } = await make();
    await publish(START);
    await store.append(ID, 1, [token("a", 1)]);
    expect(await copy.keep(token("a", 1))).toBe(true);
  });

  it("is given up where a process appends that should not, and the event goes out", async () => {
    const { store, copy, publish } = await make();
    await publish(START);
    await store.append(ID, 1, [token("other", 1)]);
    expect(await copy.keep(token("mine", 1))).toBe(true);
    expect(copy.isWhole).toBe(false);
  });

  it("is given up where another process goes on while it is behind", async () => {
    const { store, copy, publish, kept } = await make();
    store.failure = new Error("no answer");
    await publish(START);
    kept().push(token("other", 0));
    store.failure = undefined;
    await until(() => copy.store === undefined);
    await publish(token("a", 1));
    expect([copy.isWhole, kept().length]).toEqual([false, 1]);
  });

  it("is given up where memory has dropped what it misses, so that it never has a hole", async () => {
    const { store, copy, publish, kept } = await make(1000);
    await publish(START);
    store.failure = new Error("no answer");
    for (let seq = 1; seq < 50; seq++) await publish(token("a", seq));
    store.failure = undefined;
    await until(() => copy.store === undefined);
    expect(kept()).toEqual([START]);
  });
});
