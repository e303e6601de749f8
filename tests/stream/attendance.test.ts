/** attend(): renews the right to append and hears what others want, until it is ended. */
import { expect, it } from "bun:test";
import { attend, type AttendanceParts } from "../../src/stream/attendance.ts";
import type { Demand } from "../../src/stream/store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const ID = "0".repeat(32);

function begin(store: MemoryStore, more: Partial<AttendanceParts> = {}) {
  const heard: Demand[] = [];
  const failures: unknown[] = [];
  const end = attend({
    id: ID,
    store,
    holder: "me",
    leaseMs: 60,
    isReachable: () => true,
    obey: (demand) => {
      heard.push(demand);
      return Promise.resolve();
    },
    report: (failure) => failures.push(failure),
    ...more,
  });
  return { heard, failures, end };
}

/** Resolves once the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

it("attend() hears what is wanted and keeps the lease, until it is ended", async () => {
  const store = new MemoryStore();
  const { heard, end } = begin(store);
  await store.demand(ID, { upTo: 7 });
  await until(() => heard.length > 1);
  const lease = store.leases.get(ID)!;
  expect([lease.holder, lease.until > performance.now()]).toEqual(["me", true]);
  expect(heard[0]).toEqual({ upTo: 7, isStopped: false, changes: [] });
  end();
  const { asked } = store;
  await until(() => lease.until < performance.now() - 150);
  expect([store.asked, store.leases.get(ID)]).toEqual([asked, lease]);
});

it("attend() asks one question at a time, and fewer of a store that fails", async () => {
  const store = new MemoryStore();
  store.demand = () => {
    store.asked++;
    return Promise.reject(new Error("no answer"));
  };
  const { failures, end } = begin(store);
  await until(() => failures.length === 2);
  end();
  expect(store.asked).toBe(2);
});

it("attend() asks nothing of a store that is known to fail", async () => {
  const store = new MemoryStore();
  let looks = 0;
  const { end } = begin(store, { isReachable: () => ++looks === 0 });
  await until(() => looks === 2);
  end();
  expect(store.asked).toBe(0);
});
