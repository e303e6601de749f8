/**
 * A hub on loopback that misbehaves where it is told to, and a cache folder beside it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelStore, type StoreOptions } from "../../src/store/store.ts";

/** What one answer with a content does wrong; each field alone or with others. */
export interface Fault {
  /** Sends this many bytes and cuts the connection once they are in the partial file. */
  readonly cutAfter?: number;
  /** Sends this many bytes and nothing more, or the rest once `until` is there. */
  readonly hangAfter?: number;
  readonly until?: Promise<void>;
  /** Sends everything, whatever was asked for. */
  readonly ignoresRange?: boolean;
  /** Sends what was asked for, whatever the condition. */
  readonly ignoresIfRange?: boolean;
  /** Sends the rest from another place than the one that was asked for. */
  readonly shiftedBy?: number;
  /** The content in place of the right one. */
  readonly content?: Uint8Array;
  readonly etag?: string;
  readonly linkedEtag?: string;
  /** Bytes in one piece, a turn of the event loop apart. */
  readonly pieces?: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly redirect?: string;
}

/** One request that came. */
export interface Asked {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

export const REPO = "owner/tiny";
export const FILE = "tiny-Q8_0.gguf";
export const REF = `hf:${REPO}`;
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** Bytes that repeat nowhere near. */
export function contentOf(bytes: number, seed = 1): Uint8Array {
  const content = new Uint8Array(bytes);
  let state = seed;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    content[i] = state >>> 24;
  }
  return content;
}

export const sha256 = (content: Uint8Array): string =>
  createHash("sha256").update(content).digest("hex");

/** A hub with one repository. Dispose it to close it. */
export class MockHub implements AsyncDisposable {
  readonly content: Uint8Array = contentOf(300_000);
  readonly sha256: string = sha256(this.content);
  /** Faults of the answers with a content, in order; those after them are right. */
  readonly faults: Fault[] = [];
  /** Faults of the answers with the description of the repository. */
  readonly descriptionFaults: Fault[] = [];
  /** Requests for a content. */
  readonly asked: Asked[] = [];
  /** All requests. */
  readonly all: Asked[] = [];
  /** Names of the files, all with the same content. */
  files: readonly string[] = [FILE];
  commit: string = COMMIT;
  /** Bytes of the partial file; the last place that was made says. */
  partBytes: () => number = () => Infinity;
  readonly #server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://hub");
    const asked = { path: pathname, headers: request.headers };
    this.all.push(asked);
    if (pathname.startsWith("/api/")) return this.#describe(pathname, response);
    this.asked.push(asked);
    void this.#send(request.headers, response, this.faults.shift() ?? {});
  });

  static async open(): Promise<MockHub> {
    const hub = new MockHub();
    hub.#server.listen(0, "127.0.0.1");
    await once(hub.#server, "listening");
    return hub;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What the requests for a content asked for: `all`, or where they began. */
  get ranges(): string[] {
    return this.asked.map(({ headers }) => headers.range ?? "all");
  }

  #describe(pathname: string, response: ServerResponse): void {
    const { status = 200, headers = {}, content } = this.descriptionFaults.shift() ?? {};
    if (pathname !== `/api/models/${REPO}/revision/main`) {
      response.writeHead(404).end();
      return;
    }
    const siblings = [
      { rfilename: "README.md", size: 12 },
      { rfilename: "../escape-Q4_0.gguf", lfs: { sha256: this.sha256, size: 5 } },
      ...this.files.map((rfilename) => ({
        rfilename,
        lfs: { sha256: this.sha256, size: this.content.length, pointerSize: 134 },
      })),
    ];
    response.writeHead(status, headers);
    response.end(content ?? JSON.stringify({ sha: this.commit, siblings }));
  }

  async #send(headers: IncomingHttpHeaders, response: ServerResponse, fault: Fault): Promise<void> {
    const { content = this.content, etag = '"first"' } = fault;
    if (fault.redirect !== undefined) {
      response.writeHead(302, { location: fault.redirect, ...fault.headers }).end();
      return;
    }
    if (fault.status !== undefined) {
      response.writeHead(fault.status, fault.headers ?? {}).end("no");
      return;
    }
    const condition = headers["if-range"];
    const isSame = condition === undefined || condition === etag || fault.ignoresIfRange === true;
    const range = /^bytes=(\d+)-$/.exec(headers.range ?? "");
    const isPart = range !== null && isSame && fault.ignoresRange !== true;
    const from = isPart ? Number(range[1]) + (fault.shiftedBy ?? 0) : 0;
    response.writeHead(isPart ? 206 : 200, {
      "content-length": content.length - from,
      etag,
      "x-linked-etag": fault.linkedEtag ?? `"${this.sha256}"`,
      ...(isPart && {
        "content-range": `bytes ${from}-${content.length - 1}/${content.length}`,
      }),
      ...fault.headers,
    });
    await this.#write(response, content, from, fault);
  }

  async #write(
    response: ServerResponse,
    content: Uint8Array,
    from: number,
    fault: Fault,
  ): Promise<void> {
    const { cutAfter, hangAfter, until, pieces = content.length } = fault;
    const end = Math.min(from + (cutAfter ?? hangAfter ?? content.length), content.length);
    for (let at = from; at < end; at += pieces) {
      const piece = content.subarray(at, Math.min(at + pieces, end));
      await new Promise<void>((resolve) => response.write(piece, () => resolve()));
      await new Promise((resolve) => setTimeout(resolve));
    }
    // What is on its way when a connection is cut may be lost, and a test wants to know how much.
    while (cutAfter !== undefined && this.partBytes() < end && !response.destroyed) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (cutAfter !== undefined) response.destroy();
    else if (hangAfter === undefined) response.end();
    else if (until !== undefined) {
      await until;
      response.end(content.subarray(end));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A cache folder of its own for stores of one hub. */
export class Place implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), "sluice-hub-"));
  readonly env: Record<string, string>;

  constructor(hub: MockHub) {
    this.env = {
      HF_ENDPOINT: hub.origin,
      HF_HOME: this.folder,
      SLUICE_CACHE: this.folder,
      HOME: this.folder,
    };
    const part = join(this.repo, "blobs", `${hub.sha256}.sluice`);
    hub.partBytes = () => statSync(part, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** A store that waits for nothing. */
  store(options: StoreOptions = {}): ModelStore {
    return new ModelStore({
      env: this.env,
      retryDelaysMs: [0, 0, 0],
      progressMs: 0,
      ...options,
    });
  }

  /** The folder of the repository in the cache. */
  get repo(): string {
    return join(this.folder, "hub", `models--${REPO.replace("/", "--")}`);
  }

  /** Names in the folder of contents. */
  get blobs(): string[] {
    const folder = join(this.repo, "blobs");
    return existsSync(folder) ? readdirSync(folder).sort() : [];
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The message that something is rejected with. */
export async function refusalOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("it did not fail");
}
