/**
 * What Deno needs where file descriptors run out: it must not end, and must listen again.
 *
 * @module
 */
import { connect } from "node:net";

/** The part of a server of node:http that is used. */
export interface Listening {
  on(event: "connection", listener: () => void): unknown;
  close(): unknown;
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
  let isHeard = false;
  let isDoubted = false;
  let isOver = false;
  server.on("connection", () => isHeard = true);
  const look = async (): Promise<void> => {
    if (isHeard) isDoubted = true;
    else if (isDoubted) {
      isDoubted = !await isReached(address, () => isHeard);
      if (isDoubted && !isOver) {
        server.close();
        // Without a descriptor there is no listening either; it is tried again.
        await listenAgain().catch(() => undefined);
      }
    }
    isHeard = false;
    if (!isOver) timer = setTimeout(look, LOOK_MS);
  };
  let timer = setTimeout(look, LOOK_MS);
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

/** Whether a connection of this machine's own is accepted. */
async function isReached(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  isHeard: () => boolean,
): Promise<boolean> {
  const local = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "::1" : hostname;
  const socket = connect(port, local);
  socket.on("error", () => undefined);
  await new Promise((resolve) => setTimeout(resolve, ACCEPT_MS));
  socket.destroy();
  return isHeard();
}
