/** Steering: a change reaches whoever listens, and says where nobody does. */
import { expect, it } from "bun:test";
import { type Change, Steering } from "../../src/engine/steering.ts";

it("Steering gives each change to its listener, and says when there is none", () => {
  const steering = new Steering();
  expect(steering.change({ maxTokens: 1 })).toBe(false);
  const heard: Change[] = [];
  steering.listen((change) => heard.push(change));
  expect(steering.change({ maxTokens: 2 })).toBe(true);
  expect(heard).toEqual([{ maxTokens: 2 }]);
});
