/**
 * A server that only repeats recordings, for tests of clients: it cuts bodies where it is told to,
 * and goes on where the client says that it was.
 *
 * The base URL chooses the recording: `http://127.0.0.1:PORT/chat` answers what `chat.http` has.
 * No code of any server of sluice runs, and none of a runtime's: a bare socket sends every byte
 * before a cut. One connection is one request.
 *
 * @module
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { checkoutRoot } from "../../tools/setup.ts";
import { positive, runBench, UsageError } from "../options.ts";
import { readRecording, type Recording } from "./recording.ts";

const HELP = `Usage: bun bench/conformance/replay.ts [options]     or: deno run -A ...

  --port N           where to listen (8080)
  --folder PATH      the recordings (tests/stream/golden)
  --chunk N          bytes in one piece of a body (all)
  --cut N            the connection ends after so many bytes of a body (never); an event stream goes
                     on by GET /v1/streams/ID with Last-Event-ID
  --retry MS         what event streams tell their client to wait before that (as recorded)
`;

/** How recordings are replayed. */
export interface ReplayOptions {
  readonly folder: string;
  /** Port to listen on; 0 is any free one. */
  readonly port: number;
  /** Bytes in one piece; default all. */
  readonly chunkBytes?: number | undefined;
  /** Bytes of a body after which its connection ends; default never. */
  readonly cutBytes?: number | undefined;
  /** Milliseconds in the field `retry` of event streams; default as recorded. */
  readonly retryMs?: number | undefined;
}

/** A server that replays. */
export interface Replayer {
  readonly url: string;
  /** Requests that came, as `METHOD /path`. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

const encoder = new TextEncoder();
/** What a resumed stream says first. */
const PREAMBLE = "retry: 3000\n: ok";
/**
 * Milliseconds from the last byte before a cut to the cut. Bun's `fetch` throws away what a broken
 * connection brought and nobody has read yet; of a cut that comes with the bytes, its reader gets
 * few of them or none, so that a client may never move on. A server cannot see what was read.
 */
const CUT_DELAY_MS = 20;

/** What follows the message of this id; undefined where there is none of it. */
function restOf({ body }: Recording, cursor: string): Uint8Array<ArrayBuffer> | undefined {
  const blocks = new TextDecoder().decode(body).split("\n\n");
  const at = blocks.findIndex((block) => block.split("\n").includes(`id: ${cursor}`));
  if (at < 0) return undefined;
  return encoder.encode([PREAMBLE, ...blocks.slice(at + 1)].join("\n\n"));
}

function withRetry(recording: Recording, retryMs: number | undefined): Recording {
  const isEvents = recording.headers["content-type"]?.startsWith("text/event-stream");
  if (retryMs === undefined || isEvents !== true) return recording;
  const text = new TextDecoder().decode(recording.body).replace(/^retry: .*/, `retry: ${retryMs}`);
  return { ...recording, body: encoder.encode(text) };
}

/** A request as far as it matters; its body does not. */
interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly lastEventId: string | undefined;
}

function parseRequest(text: string): Asked | undefined {
  const end = text.indexOf("\r\n\r\n");
  const head = text.slice(0, end);
  const bytes = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
  if (end < 0 || text.length < end + 4 + bytes) return undefined;
  const [method = "", target = "/"] = head.split(" ");
  const lastEventId = /^last-event-id: (.*)$/im.exec(head)?.[1]?.trim();
  return { method, url: new URL(target, "http://localhost"), lastEventId };
}

/** The request, once its body has come too: a connection closed before that would be reset. */
function readRequest(socket: Socket): Promise<Asked> {
  let text = "";
  // One character a byte, as lengths count.
  socket.setEncoding("latin1");
  return new Promise((resolve) => {
    socket.on("data", (piece) => {
      text += String(piece);
      const asked = parseRequest(text);
      if (asked !== undefined) resolve(asked);
    });
  });
}

/** What a request gets. */
async function answerTo({ method, url, lastEventId }: Asked, folder: string): Promise<Recording> {
  const [, name = "", rest = ""] = /^\/([a-z_]+)(\/.*)$/.exec(url.pathname) ?? [];
  const recording = await readRecording(folder, name);
  if (method === recording.method && rest === recording.path) return recording;
  const notFound = { ...recording, status: 404, headers: {}, body: encoder.encode("") };
  const id = recording.headers["x-stream-id"];
  if (method !== "GET" || rest !== `/v1/streams/${id}`) return notFound;
  const cursor = lastEventId ?? url.searchParams.get("lastEventId");
  if (cursor === null) return recording;
  const body = restOf(recording, cursor);
  return body === undefined ? notFound : { ...recording, body };
}

async function send(
  socket: Socket,
  { status, headers, body }: Pick<Recording, "status" | "headers" | "body">,
  { chunkBytes = body.length, cutBytes = Infinity }: ReplayOptions,
): Promise<void> {
  const write = (piece: string | Uint8Array): Promise<void> =>
    new Promise((resolve) => socket.write(piece, () => resolve()));
  const lines = Object.entries({ ...headers, "content-length": body.length, connection: "close" });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await write(`HTTP/1.1 ${status} Recorded\r\n${head}\r\n`);
  // A body that ends before its length is one that was cut.
  const end = Math.min(body.length, cutBytes);
  for (let at = 0; at < end; at += chunkBytes) {
    await write(body.subarray(at, Math.min(at + chunkBytes, end)));
  }
  if (end < body.length) await sleep(CUT_DELAY_MS);
  socket.end();
}

/** Starts to replay. */
export async function replay(options: ReplayOptions): Promise<Replayer> {
  const requests: string[] = [];
  const serve = async (socket: Socket): Promise<void> => {
    try {
      const asked = await readRequest(socket);
      requests.push(`${asked.method} ${asked.url.pathname}`);
      const recording = await answerTo(asked, options.folder);
      await send(socket, withRetry(recording, options.retryMs), options);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      await send(
        socket,
        { status: 404, headers: {}, body: encoder.encode(error.message) },
        options,
      );
    }
  };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    // A client that goes is what clients do.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    serve(socket).catch((error: Error) => socket.destroy(error));
  });
  server.listen(options.port, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

async function main(args: string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      port: { type: "string", default: "8080" },
      folder: { type: "string", default: join(checkoutRoot(), "tests", "stream", "golden") },
      chunk: { type: "string" },
      cut: { type: "string" },
      retry: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const number = (name: "chunk" | "cut" | "retry"): number | undefined => {
    const text = values[name];
    return text === undefined ? undefined : positive(name, text);
  };
  const port = positive("port", values.port);
  if (port > 65535) throw new UsageError(`Cannot use --port ${port}: expected at most 65535`);
  const { folder } = values;
  const replayer = await replay({
    folder,
    port,
    chunkBytes: number("chunk"),
    cutBytes: number("cut"),
    retryMs: number("retry"),
  });
  process.stdout.write(`${replayer.url}\n`);
  await once(signal, "abort");
  await replayer.close();
  return 0;
}

if (import.meta.main) await runBench(main);
