/**
 * What Deno needs where file descriptors run out: it must not end, and must listen again.
 *
 * @module
 */
import { connect } from "node:net";

/** The part of a server of node:http that is used. */
export interface Listening {
  on(event: "connection", listener: (socket: Caller) => void): unknown;
  close(): unknown;
}

/** The part of a socket that is used. */
export interface Caller {
  readonly remotePort?: number | undefined;
}

/** How often a server is looked after. */
const LOOK_MS = 500;
/** How long it may take to accept a connection from this machine. */
const ACCEPT_MS = 250;

/**
 * Lets Deno take the descriptors now that it takes at its first signal: without them it panics, and
 * it needs them at times that no program chooses.
 */
export function readySignals(): void {
  if (!("Deno" in globalThis) || Deno.build.os === "windows") return;
  const nothing = (): void => undefined;
  Deno.addSignalListener("SIGWINCH", nothing);
  Deno.removeSignalListener("SIGWINCH", nothing);
}

/**
 * Looks after a server that accepts nothing any more once it was refused a descriptor, and says
 * nothing of it. After each time with clients it is asked for a connection once; one that does not
 * give it is closed and listens again.
 *
 * @param listenAgain may reject, and is called again later then
 * @returns what ends the looking
 */
export function keepListening(
  server: Listening,
  address: { readonly hostname: string; readonly port: number },
  listenAgain: () => Promise<void>,
): () => void {
  /** Ports of those who came since the last look. */
  const heard = new Set<number | undefined>();
  let isDoubted = false;
  let isOver = false;
  server.on("connection", ({ remotePort }) => heard.add(remotePort));
  const look = async (): Promise<void> => {
    if (heard.size > 0) isDoubted = true;
    else if (isDoubted) {
      const isReached = heard.has(await call(address));
      // Whoever else came meanwhile may have been the last that was heard.
      isDoubted = !isReached || heard.size > 1;
      if (heard.size === 0 && !isOver) {
        server.close();
        // Without a descriptor there is no listening either; it is tried again.
        await listenAgain().catch(() => undefined);
      }
    }
    heard.clear();
    if (!isOver) timer = setTimeout(look, LOOK_MS);
  };
  let timer = setTimeout(look, LOOK_MS);
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

/** Connects for long enough to be accepted; gives the port that it came from. */
async function call(
  { hostname, port }: { readonly hostname: string; readonly port: number },
): Promise<number | undefined> {
  const local = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "::1" : hostname;
  const socket = connect(port, local);
  socket.on("error", () => undefined);
  await new Promise((resolve) => setTimeout(resolve, ACCEPT_MS));
  const { localPort } = socket;
  socket.destroy();
  return localPort;
}
