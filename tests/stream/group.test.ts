/** ChunkGroup: when it gives out what it has, how far it reads, and that nothing is lost. */
import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { ChunkGroup, type StartTimer } from "../../src/stream/group.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (group: Uint8Array | undefined): string | undefined =>
  group === undefined ? undefined : new TextDecoder().decode(group);

/** A clock that stands still until it is told to go on. */
class ManualClock {
  readonly timers = new Map<symbol, { at: number; call: () => void }>();
  now = 0;

  readonly startTimer: StartTimer = (call, ms) => {
    const timer = Symbol();
    this.timers.set(timer, { at: this.now + ms, call });
    return () => void this.timers.delete(timer);
  };

  /** Lets time pass, then everything that waits for it. */
  async pass(ms: number): Promise<void> {
    this.now += ms;
    for (const [timer, { at, call }] of this.timers) {
      if (at > this.now) continue;
      this.timers.delete(timer);
      call();
    }
    await settle();
  }
}

/** Lets every promise that can settle do so. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** A source that gives what it is told to, when it is told to. */
class Source {
  pulls = 0;
  #waiting: PromiseWithResolvers<Uint8Array | undefined> | undefined;

  readonly pull = (): Promise<Uint8Array | undefined> => {
    if (this.#waiting !== undefined) throw new TypeError("pulled while a pull is going on");
    this.pulls++;
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  };

  /** Answers the pull that waits, and lets the group take it. */
  async give(text: string | undefined): Promise<void> {
    this.#answer().resolve(text === undefined ? undefined : bytes(text));
    await settle();
  }

  async fail(reason: Error): Promise<void> {
    this.#answer().reject(reason);
    await settle();
  }

  #answer(): PromiseWithResolvers<Uint8Array | undefined> {
    const waiting = this.#waiting;
    if (waiting === undefined) throw new TypeError("nobody pulls");
    this.#waiting = undefined;
    return waiting;
  }
}

function grouped(bufferSize: number, flushIntervalMs: number) {
  const [source, clock] = [new Source(), new ManualClock()];
  const options = { bufferSize, flushIntervalMs };
  const group = new ChunkGroup(source.pull, options, clock.startTimer);
  /** What `next` gave, once it has. */
  const given: (string | undefined)[] = [];
  const ask = async (): Promise<void> => {
    void group.next().then((chunk) => given.push(textOf(chunk)));
    await settle();
  };
  return { source, clock, group, given, ask };
}

describe("ChunkGroup", () => {
  it("reads nothing before it is asked", async () => {
    const { source } = grouped(3, 50);
    await settle();
    expect(source.pulls).toBe(0);
  });

  it("gives out as many as it is told to hold, and reads no more", async () => {
    const { source, clock, given, ask } = grouped(3, 50);
    await ask();
    await source.give("a");
    await source.give("b");
    expect(given).toEqual([]);
    await source.give("c");
    expect(given).toEqual(["abc"]);
    expect(source.pulls).toBe(3);
    expect(clock.timers.size).toBe(0);
  });

  it("gives out what waits when the time since the first one has passed", async () => {
    const { source, clock, given, ask } = grouped(10, 50);
    await ask();
    await clock.pass(1000);
    await source.give("a");
    await clock.pass(30);
    await source.give("b");
    await clock.pass(19);
    expect(given).toEqual([]);
    await clock.pass(1);
    expect(given).toEqual(["ab"]);
    expect(clock.timers.size).toBe(0);
  });

  it("keeps the read that went on when the time was up for the next group", async () => {
    const { source, clock, given, ask } = grouped(2, 50);
    await ask();
    await source.give("a");
    await clock.pass(50);
    expect(given).toEqual(["a"]);
    await source.give("b");
    expect(source.pulls).toBe(2);
    await ask();
    expect(source.pulls).toBe(3);
    await source.give("c");
    expect(given).toEqual(["a", "bc"]);
  });

  it("counts the time of an event that comes while nobody asks", async () => {
    const { source, clock, given, ask } = grouped(5, 50);
    await ask();
    await source.give("a");
    await clock.pass(50);
    await source.give("b");
    await clock.pass(49);
    await ask();
    expect(given).toEqual(["a"]);
    await clock.pass(1);
    expect(given).toEqual(["a", "b"]);
  });

  it("gives an event that has waited long enough at once", async () => {
    const { source, clock, given, ask } = grouped(5, 50);
    await ask();
    await source.give("a");
    await clock.pass(50);
    await source.give("b");
    await clock.pass(50);
    await ask();
    expect(given).toEqual(["a", "b"]);
    expect(source.pulls).toBe(2);
  });

  it.each([[1, 50], [10, 0]])("starts no timer with %d events and %d ms", async (size, ms) => {
    const { source, clock, given, ask } = grouped(size, ms);
    await ask();
    await source.give("a");
    await ask();
    await source.give("b");
    expect(given).toEqual(["a", "b"]);
    expect(clock.timers.size).toBe(0);
    expect(source.pulls).toBe(2);
  });

  it("does not copy an event that is alone", async () => {
    const chunk = bytes("a");
    const group = new ChunkGroup(() => Promise.resolve(chunk), {
      bufferSize: 1,
      flushIntervalMs: 0,
    });
    expect(await group.next()).toBe(chunk);
  });

  it("gives out what waits at the end, then undefined for ever", async () => {
    const { source, clock, given, ask } = grouped(5, 50);
    await ask();
    await source.give("a");
    await source.give("b");
    await source.give(undefined);
    expect(given).toEqual(["ab"]);
    await ask();
    await ask();
    expect(given).toEqual(["ab", undefined, undefined]);
    expect(source.pulls).toBe(3);
    expect(clock.timers.size).toBe(0);
  });

  it("gives out what waits before a failure, then throws it, then ends", async () => {
    const { source, group, given, ask } = grouped(5, 50);
    await ask();
    await source.give("a");
    await source.fail(new Error("broken"));
    expect(given).toEqual(["a"]);
    await expect(group.next()).rejects.toThrow("broken");
    expect(await group.next()).toBe(undefined);
    expect(source.pulls).toBe(2);
  });

  it("throws what a pull throws at once", async () => {
    const pull = (): Promise<undefined> => {
      throw new Error("broken");
    };
    const group = new ChunkGroup(pull, { bufferSize: 2, flushIntervalMs: 0 });
    await expect(group.next()).rejects.toThrow("broken");
  });

  it("gives out at once what waits when it is stopped, and clears its timer", async () => {
    const { source, clock, group, given, ask } = grouped(5, 50);
    await ask();
    await source.give("a");
    group.stop();
    await settle();
    expect(given).toEqual(["a"]);
    expect(clock.timers.size).toBe(0);
  });

  it("still gives what was being read when it was stopped", async () => {
    const { source, group, given, ask } = grouped(5, 50);
    await ask();
    await source.give("a");
    group.stop();
    await ask();
    expect(given).toEqual(["a"]);
    await source.give("b");
    expect(given).toEqual(["a", "b"]);
    await ask();
    expect(given).toEqual(["a", "b", undefined]);
    expect(source.pulls).toBe(2);
  });

  it("ends at once when it is stopped before it was asked", async () => {
    const { source, group } = grouped(5, 50);
    group.stop();
    expect(await group.next()).toBe(undefined);
    expect(source.pulls).toBe(0);
  });

  it("waits by setTimeout where no timer is given", async () => {
    const source = new Source();
    const group = new ChunkGroup(source.pull, { bufferSize: 5, flushIntervalMs: 1 });
    const next = group.next();
    await source.give("a");
    expect(textOf(await next)).toBe("a");
  });

  it("loses and reorders nothing, whatever the times, and holds no more than a group", async () => {
    const step = fc.constantFrom("give", "ask", "pass");
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), play),
      { numRuns: 500 },
    );
  });
});

/** Plays a run of steps against a group, then stops it and reads it to its end. */
async function play(steps: readonly string[], size: number): Promise<void> {
  const { source, clock, group, given } = grouped(size, 50);
  let [asked, wanted, sent] = [0, false, 0];
  const ask = async (): Promise<void> => {
    if (wanted) return;
    wanted = true;
    asked++;
    void group.next().then((chunk) => {
      wanted = false;
      given.push(textOf(chunk));
    });
    await settle();
  };
  for (const step of steps) {
    if (step === "ask") await ask();
    else if (step === "pass") await clock.pass(30);
    else if (step === "give" && source.pulls > sent) await source.give(`${sent++},`);
    expect(source.pulls).toBeLessThanOrEqual(asked * size + 1);
  }
  group.stop();
  await ask();
  if (source.pulls > sent) await source.give(`${sent++},`);
  for (let i = 0; i < 3; i++) await ask();
  expect(given.join("")).toBe(Array.from({ length: sent }, (_, i) => `${i},`).join(""));
  expect(clock.timers.size).toBe(0);
}
