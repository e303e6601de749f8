/**
 * Audits what sluice is made of: that everything is pinned, what is known against it, and, as an
 * SBOM, what it is.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { cacheFolder } from "../src/store/cache.ts";
import { checkAdvisories } from "./audit/advisories.ts";
import { checkPins, type Finding } from "./audit/pins.ts";
import { makeSbom } from "./audit/sbom.ts";
import { checkoutRoot, runMain } from "./setup.ts";

const USAGE = `Usage: bun run audit [options]     or: deno task audit [options]

Checks that every dependency is pinned to one version and one content, and asks the registry what
is known against them. Ends with 0 where all is in order, with 1 where something is not, and with 2
where the registry does not say.

  --sbom FILE    write a CycloneDX 1.6 document of everything instead; "-" is standard output
  --timestamp    say in it when it was written, which makes each one different
  --help         this text
`;

/** The exit code of some findings. */
export function exitCode(findings: readonly Finding[]): number {
  if (findings.some(({ faults }) => faults.length > 0)) return 1;
  return findings.some(({ isUnknown }) => isUnknown) ? 2 : 0;
}

/** One finding as its lines. */
export function lines({ subject, says, faults }: Finding): string {
  const name = subject.padEnd(10);
  if (faults.length === 0) return `${name}  ${says}\n`;
  return faults.map((fault) => `${name}  WRONG: ${fault}\n`).join("");
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      sbom: { type: "string" },
      timestamp: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const root = checkoutRoot();
  if (values.sbom !== undefined) {
    const sbom = makeSbom(root, values.timestamp ? new Date().toISOString() : undefined);
    const text = `${JSON.stringify(sbom, null, 2)}\n`;
    if (values.sbom === "-") process.stdout.write(text);
    else writeFileSync(values.sbom, text);
    return 0;
  }
  const findings = [
    ...await checkPins({ root, cache: cacheFolder() }),
    await checkAdvisories(root),
  ];
  for (const finding of findings) process.stdout.write(lines(finding));
  return exitCode(findings);
}

if (import.meta.main) await runMain(main);
