import { describe, expect, it } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { packages } from "../../../tools/setup/packages.ts";
import { noBar, Workplace } from "./workplace.ts";

const manifest = { name: "x", dependencies: { local: "file:./local" } };
const lock = {
  lockfileVersion: 2,
  configVersion: 1,
  workspaces: { "": manifest },
  packages: { local: ["local@file:local", {}] },
};

/** A checkout that asks for a package of its own, so that its installation needs no network. */
function checkout(place: Workplace): void {
  place.write("package.json", JSON.stringify(manifest));
  place.write("bun.lock", JSON.stringify(lock));
  place.write("local/package.json", JSON.stringify({ name: "local", version: "1.0.0" }));
  place.write("deno.json", "{}");
  place.write("tools/setup.ts", "");
}

describe("the packages step", () => {
  it("is ready after an installation, until a pin changes", async () => {
    using place = new Workplace();
    checkout(place);
    expect(packages.ready(place)).toBe(false);
    await packages.run(place, noBar);
    expect(packages.ready(place)).toBe(true);
    place.write("package.json", JSON.stringify({ ...manifest, scripts: { a: "b" } }));
    expect(packages.ready(place)).toBe(true);
    place.write("package.json", JSON.stringify({ ...manifest, devDependencies: { a: "1.0.0" } }));
    expect(packages.ready(place)).toBe(false);
    checkout(place);
    expect(packages.ready(place)).toBe(true);
    place.write("bun.lock", "{}");
    expect(packages.ready(place)).toBe(false);
  });

  it("is not ready after an installation that failed", async () => {
    using place = new Workplace();
    checkout(place);
    place.write("package.json", "{ not JSON");
    place.write("deno.json", "{ not JSON");
    await expect(packages.run(place, noBar)).rejects.toThrow("Cannot install the npm packages: ");
    expect(existsSync(join(place.root, "node_modules", ".sluice"))).toBe(false);
  });
});
