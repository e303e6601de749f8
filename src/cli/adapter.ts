/**
 * The command line's part of what listens: the runtime's own server, or node:http.
 *
 * @module
 */
import { SluiceError } from "../errors.ts";
import type { RunningServer, ServeOptions } from "../server/adapters/server.ts";
import { isLoopback } from "./access.ts";

/** What `--help` says of `serve`. */
export const ADAPTER_USAGE =
  `  --adapter NAME            what listens: bun, deno or node (the runtime's own; on Deno node, where
                            other machines reach the address)
`;

/** The option, as parseArgs takes it. */
export const ADAPTER_OPTIONS = { adapter: { type: "string" } } as const;

/** Starts to listen. */
export type Serve = (options: ServeOptions) => RunningServer | Promise<RunningServer>;

/**
 * Which adapter listens on an address. Deno's own server waits for slow clients without end and
 * cannot close a connection, so it is for this machine and for proxies.
 *
 * @throws SluiceError where this runtime has no such adapter
 */
export function adapterFor(host: string, name?: string): "bun" | "deno" | "node" {
  const own = "Deno" in globalThis ? "deno" : "bun";
  if (name === undefined) return own === "deno" && !isLoopback(host) ? "node" : own;
  if (name === own || name === "node") return name;
  throw new SluiceError(
    `Cannot use --adapter ${name}: expected ${own} or node on this runtime`,
    "usage",
    400,
  );
}

/** Loads an adapter, and no other. */
export async function loadAdapter(name: "bun" | "deno" | "node"): Promise<Serve> {
  if (name === "node") return (await import("../server/adapters/node.ts")).serve;
  if (name === "deno") return (await import("../server/adapters/deno.ts")).serve;
  return (await import("../server/adapters/bun.ts")).serve;
}
