import { describe, expect, it } from "bun:test";
import { parseBunLock } from "../../../tools/audit/bun_lock.ts";

const TEXT = `{
  "lockfileVersion": 2,
  "workspaces": {
    "": {
      "name": "x",
      "dependencies": { "a": "1.0.0", },
      "devDependencies": { "@s/b": "2.0.0", "c": "3.0.0", },
    },
  },
  "packages": {
    "@s/b": ["@s/b@2.0.0", "", { "dependencies": { "d": "^2", "odd": "1" } }, "sha512-b"],
    "a": ["a@1.0.0", "", {
      "dependencies": { "d": "^1" },
      "peerDependencies": { "c": "*", "e": "*" },
      "optionalPeers": ["c"],
    }, "sha512-a"],
    "c": ["c@3.0.0", "https://x.test/", { "bin": { "c": "c,}.js" } }, "sha512-c"],
    "d": ["d@1.5.0", "", { "optionalDependencies": { "f": "1" } }, "sha512-d"],
    "e": ["e@1.0.0", "", {}, "sha512-e"],
    "f": ["f@1.0.0", "", { "os": "none" }, "sha512-f"],
    "odd": ["even@4.0.0-rc.1", "", {}, "sha512-o"],
    "@s/b/d": ["d@2.5.0", "", {}, "sha512-d2"],
  },
}
`;

describe("parseBunLock()", () => {
  const { packages, asked } = parseBunLock(TEXT);
  const find = (name: string, version?: string) =>
    packages.find((each) => each.name === name && each.version === (version ?? each.version))!;

  it("gives every package once, sorted, with its hash", () => {
    expect(packages.map(({ name, version }) => `${name}@${version}`)).toEqual([
      "@s/b@2.0.0",
      "a@1.0.0",
      "c@3.0.0",
      "d@1.5.0",
      "d@2.5.0",
      "e@1.0.0",
      "even@4.0.0-rc.1",
      "f@1.0.0",
    ]);
    expect(find("a").integrity).toBe("sha512-a");
    expect(find("c").registry).toBe("https://x.test/");
    expect(asked).toEqual({ a: "1.0.0", "@s/b": "2.0.0", c: "3.0.0" });
  });

  it("finds what a package needs as folders would: the nearest of that name", () => {
    expect(find("@s/b").needs.map(({ version }) => version)).toEqual(["2.5.0", "4.0.0-rc.1"]);
    expect(find("a").needs.map(({ name }) => name)).toEqual(["d", "e"]);
    expect(find("d", "2.5.0").place).toEqual(["@s/b", "d"]);
  });

  it("tells what users get from what is for work on it, peers that are optional aside", () => {
    const runtime = packages.filter(({ isRuntime }) => isRuntime);
    expect(runtime.map(({ name, version }) => `${name}@${version}`))
      .toEqual(["a@1.0.0", "d@1.5.0", "e@1.0.0", "f@1.0.0"]);
  });
});
