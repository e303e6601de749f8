/** Router: literal paths, prefixes, and what is neither. */
import { describe, expect, it } from "bun:test";
import { Router } from "../../src/server/router.ts";

describe("Router", () => {
  const router = new Router<string>();
  for (const path of ["/v1/models", "/v1/models/*", "/v1/models/load", "/v1/*", "/a/b/*"]) {
    router.at(path, () => path);
  }

  it.each(
    [
      ["/v1/models", "/v1/models", ""],
      ["/v1/models/load", "/v1/models/load", ""],
      ["/v1/models/mock", "/v1/models/*", "mock"],
      ["/v1/models/org%2Fmock", "/v1/models/*", "org/mock"],
      ["/v1/models/org/mock", "/v1/models/*", "org/mock"],
      ["/v1/models/%2525", "/v1/models/*", "%25"],
      ["/v1/other", "/v1/*", "other"],
      ["/a/b/c/d", "/a/b/*", "c/d"],
    ] as const,
  )("leads %s to %s with the rest %j", (path, target, rest) => {
    expect(router.match(path)).toEqual({ target, rest });
  });

  it.each(["/", "", "/v1", "/v1/", "/a/b", "/a/b/", "/V1/models", "/v1/%zz", "x/v1/models"])(
    "leads %j nowhere",
    (path) => expect(router.match(path)).toBe(undefined),
  );

  it("gives the target that a path has already", () => {
    const targets = new Router<object>();
    const first = targets.at("/x", () => ({}));
    expect(targets.at("/x", () => ({}))).toBe(first);
    expect(targets.at("/x/*", () => ({}))).not.toBe(first);
  });
});
