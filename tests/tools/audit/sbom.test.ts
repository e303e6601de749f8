import { describe, expect, it } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { makeSbom } from "../../../tools/audit/sbom.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const sbom = makeSbom(root);
const all = [sbom.metadata.component, ...sbom.components];
const npm = sbom.components.filter(({ purl }) => purl.startsWith("pkg:npm/"));
const fullName = ({ group, name }: { group?: string; name: string }) =>
  group === undefined ? name : `${group}/${name}`;

/** What the lock names, by a reading of its own. */
const locked = [...readFileSync(`${root}bun.lock`, "utf8").matchAll(/^ {4}"[^"]+": \["([^"]+)"/gm)]
  .map(([, ident]) => ident!);

describe("makeSbom()", () => {
  it("has what the schema of CycloneDX 1.6 requires, and nothing that it does not know", () => {
    expect(sbom).toMatchObject({ bomFormat: "CycloneDX", specVersion: "1.6", version: 1 });
    expect(Object.keys(sbom).sort()).toEqual(
      ["$schema", "bomFormat", "components", "dependencies", "metadata", "specVersion", "version"],
    );
    const fields = new Set(
      "type bom-ref group name version scope hashes licenses purl externalReferences properties"
        .split(" "),
    );
    for (const component of all) {
      expect(Object.keys(component).filter((field) => !fields.has(field))).toEqual([]);
      expect(component.type).toMatch(/^(application|library|machine-learning-model)$/);
      expect(component.name).not.toBe("");
      expect(component.version).not.toBe("");
      expect(component.purl).toMatch(/^pkg:[a-z]+\/(?:%40[\w.-]+\/)?[\w.-]+@[\w.+-]+$/);
      expect(component.scope ?? "required").toMatch(/^(required|optional|excluded)$/);
      const outside = component.externalReferences ?? [];
      for (const { type, url } of outside) {
        expect(type).toBe("distribution");
        expect(URL.canParse(url)).toBe(true);
      }
      const hashes = [component, ...outside].flatMap((each) => each.hashes ?? []);
      for (const { alg, content } of hashes) {
        expect(content).toMatch(alg === "SHA-512" ? /^[0-9a-f]{128}$/ : /^[0-9a-f]{64}$/);
      }
      for (const licence of component.licenses ?? []) {
        // One of the two, and an expression stands alone.
        expect(Object.keys(licence)).toEqual(["license" in licence ? "license" : "expression"]);
        if ("expression" in licence) expect(component.licenses!.length).toBe(1);
      }
    }
  });

  it("names each component by a reference of its own, and refers to those alone", () => {
    const refs = all.map((component) => component["bom-ref"]);
    expect(new Set(refs).size).toBe(refs.length);
    const pointed = sbom.dependencies.flatMap(({ ref, dependsOn }) => [ref, ...dependsOn]);
    expect(pointed.filter((ref) => !refs.includes(ref))).toEqual([]);
    for (const { dependsOn } of sbom.dependencies) {
      expect(new Set(dependsOn).size).toBe(dependsOn.length);
    }
    const reached = new Set([sbom.metadata.component["bom-ref"]]);
    for (const ref of reached) {
      const { dependsOn = [] } = sbom.dependencies.find((each) => each.ref === ref) ?? {};
      for (const next of dependsOn) reached.add(next);
    }
    expect(refs.filter((ref) => !reached.has(ref))).toEqual([]);
  });

  it("names exactly the packages of bun.lock, each with its hash", () => {
    expect(locked.length).toBeGreaterThan(50);
    const named = npm.map((component) => `${fullName(component)}@${component.version}`);
    expect(named.sort()).toEqual([...new Set(locked)].sort());
    expect(npm.filter(({ hashes }) => hashes?.[0]?.alg !== "SHA-512")).toEqual([]);
    const others = sbom.components.filter((component) => !npm.includes(component));
    expect(others.map(({ name }) => name.split("-")[0])).toEqual(["ggml", "zig", "SmolLM2"]);
  });

  it("writes the hash of the lock in hexadecimal digits", () => {
    const { name, version, hashes } = npm.find(({ name }) => name === "valibot")!;
    const [, integrity] = new RegExp(`"${name}@${version}".*"sha512-([^"]+)"`)
      .exec(readFileSync(`${root}bun.lock`, "utf8"))!;
    const bytes = Uint8Array.from(atob(integrity!), (character) => character.charCodeAt(0));
    expect(hashes![0]!.content).toBe(bytes.toHex());
  });

  it("tells what users get from what builds and tests it", () => {
    const inScope = (scope: string) =>
      sbom.components.filter((each) => each.scope === scope).map(fullName);
    const { dependencies, devDependencies } = JSON.parse(
      readFileSync(`${root}package.json`, "utf8"),
    );
    expect(inScope("required")).toEqual(
      expect.arrayContaining([...Object.keys(dependencies), "ggml", "denque"]),
    );
    expect(inScope("excluded")).toEqual(
      expect.arrayContaining([...Object.keys(devDependencies), "zig"]),
    );
    expect(inScope("optional").length).toBe(1);
  });

  it("says the licence of every package that is installed here", () => {
    const bare = npm.filter(({ licenses }) => licenses === undefined);
    const elsewhere = /(darwin|linux|win|windows|freebsd|netbsd|openbsd|sunos|aix|android)/;
    expect(bare.map(fullName).filter((name) => !elsewhere.test(name))).toEqual([]);
  });

  it("is the same each time, unless it says when", () => {
    expect(JSON.stringify(makeSbom(root))).toBe(JSON.stringify(sbom));
    const timestamp = "2030-01-02T03:04:05.000Z";
    expect(makeSbom(root, timestamp).metadata.timestamp).toBe(timestamp);
    expect("timestamp" in sbom.metadata).toBe(false);
  });
});
