/**
 * Serves a handler with the adapter of the runtime that runs, so that one test file covers both; or
 * with that of node:http, which both have.
 *
 * @module
 */
import type { Handler } from "../../src/server/handler.ts";
import type { RunningServer, ServeOptions } from "../../src/server/adapters/server.ts";
import { type NodeServeOptions, serve as serveNode } from "../../src/server/adapters/node.ts";

/** Listens on 127.0.0.1; on a free port where none is given. */
export type ServeHere = (
  handler: Handler,
  port?: number,
  more?: Pick<ServeOptions, "tls">,
) => Promise<RunningServer>;

/** With the adapter of the runtime. */
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

/** With the adapter of node:http. */
export function serveOnNode(
  handler: Handler,
  port = 0,
  more: Omit<NodeServeOptions, "handler" | "port"> = {},
): Promise<RunningServer> {
  return serveNode({ handler, port, ...more });
}

/** What both adapters of a runtime are called in the names of tests. */
export const ADAPTERS: readonly (readonly [name: string, serve: ServeHere])[] = [
  ["the runtime's server", serveHere],
  ["node:http", serveOnNode],
];
