import { describe, expect, it } from "bun:test";
import process from "node:process";
import { takeLock } from "../../../tools/setup/lock.ts";
import { Workplace } from "./workplace.ts";

const never = new AbortController().signal;
const noWait = (): void => {
  throw new Error("waited for a free lock");
};

describe("takeLock()", () => {
  it("takes a free lock at once, again and again", async () => {
    using place = new Workplace();
    for (let i = 0; i < 3; i++) {
      using _ = await takeLock(place.cache, never, noWait);
    }
  });

  it("waits for the holder, says who that is, and goes on when it lets go", async () => {
    using place = new Workplace();
    const order: string[] = [];
    const first = await takeLock(place.cache, never, noWait);
    const told = Promise.withResolvers<string>();
    const second = takeLock(place.cache, never, told.resolve).then((lock) => {
      order.push("second");
      lock[Symbol.dispose]();
    });
    expect(await told.promise).toBe(`process ${process.pid}`);
    order.push("first ends");
    first[Symbol.dispose]();
    await second;
    expect(order).toEqual(["first ends", "second"]);
  });

  it("stops waiting when aborted", async () => {
    using place = new Workplace();
    using _ = await takeLock(place.cache, never, noWait);
    const stopper = new AbortController();
    const waiting = takeLock(place.cache, stopper.signal, () => stopper.abort(new Error("enough")));
    await expect(waiting).rejects.toThrow("enough");
  });
});
