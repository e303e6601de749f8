/**
 * Which runtime this is. Importing does nothing; `loadFfi()` is the first effect.
 *
 * @module
 */
import type { Ffi } from "./ffi.ts";

/** Loads the seam of the runtime that runs. Opens no library. */
export async function loadFfi(): Promise<Ffi> {
  return "Deno" in globalThis ? (await import("./deno.ts")).ffi : (await import("./bun.ts")).ffi;
}
