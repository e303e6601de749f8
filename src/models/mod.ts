/**
 * Every architecture that sluice runs, one row each.
 *
 * @module
 */
import { ModelError } from "../errors.ts";
import { llama } from "./llama.ts";
import type { Architecture } from "./model.ts";

const architectures: readonly Architecture[] = [llama];

/** The architecture of that `general.architecture`. Throws ModelError when there is none. */
export function architecture(name: string): Architecture {
  const found = architectures.find((a) => a.name === name);
  if (found) return found;
  const known = architectures.map((a) => a.name).join(", ");
  throw new ModelError(
    `Cannot load the model: its architecture is "${name}", expected one of ${known}`,
  );
}
