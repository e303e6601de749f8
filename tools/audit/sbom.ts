/**
 * What sluice is made of, as a CycloneDX 1.6 document.
 *
 * Scopes say who gets a component: `required` is in every program that uses sluice, `optional` is
 * the model that it can bring, `excluded` is for those who build or test it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { knownModels } from "../../src/store/reference.ts";
import { readLock } from "../setup/ggml.ts";
import { defaultModel, modelWheel } from "../setup/model.ts";
import { zigVersion, zigWheels } from "../setup/zig.ts";
import { type LockedPackage, readBunLock } from "./bun_lock.ts";

/** Hash of a component. */
export interface SbomHash {
  readonly alg: "SHA-256" | "SHA-512";
  /** Lower-case hex. */
  readonly content: string;
}

/** A licence: by its SPDX id or expression, or by what its package calls it. */
export type SbomLicence =
  | { readonly license: { readonly id: string } | { readonly name: string } }
  | { readonly expression: string };

/** One component. */
export interface SbomComponent {
  readonly type: "application" | "library" | "machine-learning-model";
  readonly "bom-ref": string;
  readonly group?: string;
  readonly name: string;
  readonly version: string;
  readonly scope?: "required" | "optional" | "excluded";
  readonly hashes?: readonly SbomHash[];
  readonly licenses?: readonly SbomLicence[];
  readonly purl: string;
  readonly externalReferences?: readonly {
    readonly type: "distribution";
    readonly url: string;
    readonly hashes: readonly SbomHash[];
  }[];
  readonly properties?: readonly { readonly name: string; readonly value: string }[];
}

/** The whole document. */
export interface Sbom {
  readonly $schema: string;
  readonly bomFormat: "CycloneDX";
  readonly specVersion: "1.6";
  readonly version: 1;
  readonly metadata: { readonly timestamp?: string; readonly component: SbomComponent };
  readonly components: readonly SbomComponent[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

function npmPurl(name: string, version: string): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

/** npm's `sha512-<base64>`. */
function sha512Of(integrity: string): SbomHash {
  const content = Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex");
  return { alg: "SHA-512", content };
}

const sha256Of = (content: string): SbomHash => ({ alg: "SHA-256", content });

/** What SPDX calls the licences that the packages have; others keep their own words. */
const SPDX_ID = /^(?:MIT(?:-0)?|ISC|0BSD|Apache-2\.0|BSD-[23]-Clause|CC0-1\.0|BlueOak-1\.0\.0)$/;

function licencesOf(said: unknown): readonly SbomLicence[] {
  if (typeof said !== "string" || said === "") return [];
  if (SPDX_ID.test(said)) return [{ license: { id: said } }];
  if (/ (?:OR|AND|WITH) /.test(said)) return [{ expression: said }];
  return [{ license: { name: said } }];
}

/** What an installed package says of itself; those of other platforms are not here. */
function licencesIn(root: string, { place }: LockedPackage): readonly SbomLicence[] {
  const folder = place.map((name) => join("node_modules", name)).join("/");
  const manifest = join(root, folder, "package.json");
  if (!existsSync(manifest)) return [];
  return licencesOf(JSON.parse(readFileSync(manifest, "utf8")).license);
}

/** `@a/b` as its group and its name. */
function named(name: string): Pick<SbomComponent, "group" | "name"> {
  const [group, rest] = name.split("/");
  return rest === undefined ? { name } : { group: group!, name: rest };
}

function npmComponent(root: string, locked: LockedPackage): SbomComponent {
  const purl = npmPurl(locked.name, locked.version);
  const licenses = licencesIn(root, locked);
  return {
    type: "library",
    "bom-ref": purl,
    ...named(locked.name),
    version: locked.version,
    scope: locked.isRuntime ? "required" : "excluded",
    hashes: [sha512Of(locked.integrity)],
    ...(licenses.length > 0 && { licenses }),
    purl,
  };
}

function ggmlComponent(root: string): SbomComponent {
  const lock = readLock(root);
  const purl = `pkg:generic/ggml@${lock.version}`;
  return {
    type: "library",
    "bom-ref": purl,
    name: "ggml",
    version: lock.version,
    scope: "required",
    licenses: licencesOf(lock.licence),
    purl,
    externalReferences: [{
      type: "distribution",
      url: npmPurl(lock.package, lock.packageVersion),
      hashes: [sha512Of(lock.integrity)],
    }],
    properties: [{ name: "sluice:tree-sha256", value: lock.sha256 }],
  };
}

function zigComponent(): SbomComponent {
  const purl = `pkg:pypi/ziglang@${zigVersion}`;
  return {
    type: "application",
    "bom-ref": purl,
    name: "zig",
    version: zigVersion,
    scope: "excluded",
    licenses: licencesOf("MIT"),
    purl,
    externalReferences: Object.entries(zigWheels).map(([platform, { sha256 }]) => ({
      type: "distribution",
      url: `${purl}?platform=${platform}`,
      hashes: [sha256Of(sha256)],
    })),
  };
}

function modelComponent(): SbomComponent {
  const purl = `pkg:pypi/${modelWheel.project}@${modelWheel.version}`;
  return {
    type: "machine-learning-model",
    "bom-ref": purl,
    name: knownModels[defaultModel]!.file,
    version: modelWheel.version,
    scope: "optional",
    hashes: [sha256Of(knownModels[defaultModel]!.sha256)],
    licenses: licencesOf("Apache-2.0"),
    purl,
    externalReferences: [
      { type: "distribution", url: purl, hashes: [sha256Of(modelWheel.sha256)] },
    ],
  };
}

/**
 * The document of a checkout; the same bytes for the same checkout and packages.
 *
 * @param timestamp ISO 8601, of the document; default none
 */
export function makeSbom(root: string, timestamp?: string): Sbom {
  const self = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const { packages } = readBunLock(root);
  const purl = npmPurl(self.name, self.version);
  const component: SbomComponent = {
    type: "library",
    "bom-ref": purl,
    ...named(self.name),
    version: self.version,
    licenses: licencesOf(self.license),
    purl,
  };
  const others = [ggmlComponent(root), zigComponent(), modelComponent()];
  const refOf = ({ name, version }: LockedPackage): string => npmPurl(name, version);
  const asked = Object.entries<string>({ ...self.dependencies, ...self.devDependencies })
    .map(([name, version]) => npmPurl(name, version));
  const refs = [...asked, ...others.map((other) => other["bom-ref"])];
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: { ...(timestamp !== undefined && { timestamp }), component },
    components: [...packages.map((locked) => npmComponent(root, locked)), ...others],
    dependencies: [
      { ref: purl, dependsOn: refs.sort() },
      ...packages.map((locked) => ({
        ref: refOf(locked),
        dependsOn: [...new Set(locked.needs.map(refOf))].sort(),
      })),
    ],
  };
}
