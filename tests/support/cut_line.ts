/**
 * A line to a local port that can be cut in the middle of an answer, as a lost network does.
 *
 * @module
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A port in front of another one. */
export interface CutLine {
  readonly url: string;
  /** Resets every connection that is open. */
  cut(): void;
  close(): Promise<void>;
}

/** Listens on 127.0.0.1 and passes everything on to `port`. */
export async function openLine(port: number): Promise<CutLine> {
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      open.add(socket);
      socket.on("data", (bytes) => void other.write(bytes));
      // What one side suffers ends the other.
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        open.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}
