/**
 * Serves a handler with the adapter of the runtime that runs, so that one test file covers both.
 *
 * @module
 */
import type { Handler } from "../../src/server/handler.ts";
import type { RunningServer, ServeOptions } from "../../src/server/adapters/server.ts";

/** Listens on 127.0.0.1; on a free port where none is given. */
export async function serveHere(
  handler: Handler,
  port = 0,
  more: Pick<ServeOptions, "tls"> = {},
): Promise<RunningServer> {
  const { serve } = "Deno" in globalThis
    ? await import("../../src/server/adapters/deno.ts")
    : await import("../../src/server/adapters/bun.ts");
  return serve({ handler, port, ...more });
}
