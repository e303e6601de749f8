/**
 * Names inside archives, which are input from outside.
 *
 * @module
 */
import { SetupError } from "../../src/errors.ts";

/**
 * Lets a member's name through when it stays inside the folder it is unpacked to.
 *
 * @throws {SetupError} when it is absolute, climbs with `..`, or is not a plain path with `/`
 */
export function safeMember(archive: string, name: string): string {
  const parts = name.replace(/\/$/, "").split("/");
  const plain = !/[\\:\0]/.test(name) && parts.every((part) => !["", ".", ".."].includes(part));
  if (plain) return parts.join("/");
  throw new SetupError(
    `Cannot unpack ${archive}: its member ${JSON.stringify(name)} would leave the target folder, ` +
      "expected a relative path; delete the file and run the set-up again",
  );
}
