/**
 * Fetches one file whose hash is known: resumed where it broke off, whole or not there.
 *
 * What has arrived lies in a partial file, which survives the process. The next attempt asks for
 * the rest, on the condition that the content is still the same; the hash of the whole decides.
 *
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { constants, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type FileHandle, open, statfs } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { size } from "./amounts.ts";
import { DownloadError } from "./download_error.ts";
import { refusal } from "./hub.ts";
import { type Access, type Answer, get } from "./request.ts";

/** Pauses between attempts that bring nothing new; one more failure is the last. */
const RETRY_DELAYS_MS = [500, 1000, 2000, 4000];
/** Longest pause that a hub may ask for; one that wants more is told to the user. */
const RETRY_MS_MAX = 20_000;
const READ_BYTES = 1 << 20;

/** What to fetch. */
export interface Wanted {
  /** What fails when it fails: `download "hf:owner/repo"`. */
  readonly purpose: string;
  readonly url: URL;
  /** Hash of the content, lower-case hex. */
  readonly sha256: string;
  readonly bytes: number;
}

/** The part of a file handle that is used; a test gives one whose disk is full. */
export type Sink = Pick<FileHandle, "read" | "write" | "truncate" | "sync" | "close">;

/** How to fetch it. */
export interface DownloadOptions {
  readonly access: Access;
  readonly signal: AbortSignal;
  /** Told how many bytes are there, after each piece. */
  readonly onBytes: (bytes: number) => void;
  /** Default `[500, 1000, 2000, 4000]`. */
  readonly retryDelaysMs?: readonly number[] | undefined;
  /** Opens the partial file. Default the file system. */
  readonly open?: ((path: string) => Promise<Sink>) | undefined;
  /** Free bytes of a folder's disk. Default the file system's word. */
  readonly freeBytes?: ((folder: string) => Promise<number>) | undefined;
}

/**
 * Fetches a file into `path`, where earlier attempts may have left a part of it.
 *
 * When it resolves, the file is whole, checked and on the disk. When it rejects, what is there is a
 * part that the next attempt goes on from, or nothing. One at a time for a path.
 *
 * @throws {DownloadError} or the signal's reason
 */
export async function download(
  path: string,
  wanted: Wanted,
  options: DownloadOptions,
): Promise<void> {
  const delays = options.retryDelaysMs ?? RETRY_DELAYS_MS;
  let failures = 0;
  let most = -1;
  let isAgain = false;
  for (;;) {
    const part = await Part.open(path, wanted, options);
    try {
      const inOnePiece = await part.fetch();
      if (await part.finish()) return;
      // Pieces of two contents, or what a crash left: all of it anew tells.
      if (inOnePiece || isAgain) throw wrongHash(wanted, part.hash);
      isAgain = true;
      continue;
    } catch (error) {
      const { retryAfterMs = Infinity } = error instanceof DownloadError ? error : {};
      failures = part.bytes > most ? 1 : failures + 1;
      const delay = delays[failures - 1];
      if (delay === undefined || retryAfterMs > RETRY_MS_MAX) throw error;
      most = Math.max(most, part.bytes);
      await sleep(Math.max(delay, retryAfterMs), undefined, { signal: options.signal })
        .catch(() => Promise.reject(options.signal.reason));
    } finally {
      await part.close();
    }
  }
}

function wrongHash({ purpose, sha256 }: Wanted, hash: string): DownloadError {
  return new DownloadError(
    `Cannot ${purpose}: the sha256 of what came is ${hash}, expected ${sha256}; nothing of it is ` +
      "kept, try again, and where that does not help check the network and HF_ENDPOINT",
  );
}

/** The partial file during one attempt. */
class Part {
  readonly #path: string;
  readonly #wanted: Wanted;
  readonly #options: DownloadOptions;
  readonly #sink: Sink;
  #hashing: Hash = createHash("sha256");
  /** Bytes that are there. */
  bytes = 0;
  /** Hash of what was there at `finish`. */
  hash = "";

  private constructor(path: string, wanted: Wanted, options: DownloadOptions, sink: Sink) {
    this.#path = path;
    this.#wanted = wanted;
    this.#options = options;
    this.#sink = sink;
  }

  static async open(path: string, wanted: Wanted, options: DownloadOptions): Promise<Part> {
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    const openFile = options.open ?? ((name) => open(name, O_RDWR | O_CREAT | O_NOFOLLOW, 0o644));
    const sink = await openFile(path).catch((cause) => {
      throw diskFailure(wanted.purpose, path, cause);
    });
    const part = new Part(path, wanted, options, sink);
    try {
      await part.#readWhatIsThere();
    } catch (error) {
      await part.close();
      throw error;
    }
    return part;
  }

  async #readWhatIsThere(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      this.#options.signal.throwIfAborted();
      const { bytesRead } = await this.#sink.read(buffer, 0, buffer.length, this.bytes);
      if (bytesRead === 0) break;
      this.#hashing.update(buffer.subarray(0, bytesRead));
      this.bytes += bytesRead;
    }
    if (this.bytes > this.#wanted.bytes) await this.#clear();
    this.#options.onBytes(this.bytes);
  }

  /**
   * Fetches what is missing.
   *
   * @returns whether all of it came in one answer
   */
  async fetch(): Promise<boolean> {
    const { purpose, url, bytes } = this.#wanted;
    const { access, signal } = this.#options;
    if (this.bytes === bytes) return false;
    await this.#checkSpace();
    const etag = this.#etag;
    const answer = await get(purpose, url, access, signal, {
      ...(this.bytes > 0 && { range: `bytes=${this.bytes}-` }),
      ...(this.bytes > 0 && etag !== undefined && { "if-range": etag }),
    });
    try {
      await this.#accept(answer);
      const inOnePiece = this.bytes === 0;
      for await (const piece of answer.body) await this.#append(piece);
      if (this.bytes === bytes) return inOnePiece;
      throw new DownloadError(
        `Cannot ${purpose}: the hub ended it after ${this.bytes} of ${bytes} bytes, try again`,
        { retryAfterMs: 0 },
      );
    } finally {
      answer.close();
    }
  }

  /** Checks that an answer is what is missing, or begins anew where it is everything. */
  async #accept({ status, headers, firstHeaders }: Answer): Promise<void> {
    const { purpose, sha256, bytes } = this.#wanted;
    if (status === 416) {
      await this.#clear();
      throw new DownloadError(`Cannot ${purpose}: the hub has no rest of it (416), try again`, {
        retryAfterMs: 0,
      });
    }
    if (status !== 200 && status !== 206) throw refusal(purpose, status, headers);
    const linked = strong(firstHeaders["x-linked-etag"]);
    if (linked !== undefined && linked !== `"${sha256}"`) {
      throw new DownloadError(
        `Cannot ${purpose}: the file at the hub is not the one that it lists, pull it again`,
      );
    }
    const isRest = status === 206;
    const [from, total] = isRest ? rangeOf(headers) : [0, lengthOf(headers)];
    const isSame = strong(headers.etag) === this.#etag;
    if (isRest && (from !== this.bytes || !isSame)) {
      await this.#clear();
      throw new DownloadError(
        `Cannot ${purpose}: the hub sends the rest of something else, try again`,
        { retryAfterMs: 0 },
      );
    }
    if (!isRest) await this.#clear();
    if (total === undefined || total === bytes) return this.#remember(headers.etag);
    throw new DownloadError(`Cannot ${purpose}: the hub has ${total} bytes, expected ${bytes}`);
  }

  /** A few bytes beside the part: the name that the server gave the content. */
  get #etagFile(): string {
    return `${this.#path}.etag`;
  }

  get #etag(): string | undefined {
    return existsSync(this.#etagFile) ? strong(readFileSync(this.#etagFile, "utf8")) : undefined;
  }

  #remember(etag: string | undefined): void {
    const value = strong(etag);
    if (value === undefined) rmSync(this.#etagFile, { force: true });
    else writeFileSync(this.#etagFile, value);
  }

  #failOnDisk(cause: unknown): never {
    const { purpose, bytes } = this.#wanted;
    throw diskFailure(
      purpose,
      this.#path,
      cause,
      ` after ${size(this.bytes)} of ${size(bytes)}`,
    );
  }

  async #checkSpace(): Promise<void> {
    const folder = dirname(this.#path);
    const free = await (this.#options.freeBytes ?? freeBytesOf)(folder);
    const missing = this.#wanted.bytes - this.bytes;
    if (free >= missing) return;
    throw new DownloadError(
      `Cannot ${this.#wanted.purpose}: it needs ${size(missing)} more and the disk has ` +
        `${size(free)}, free some or move the cache with HF_HUB_CACHE`,
      { place: folder },
    );
  }

  async #append(piece: Uint8Array): Promise<void> {
    const { purpose, bytes } = this.#wanted;
    if (this.bytes + piece.length > bytes) {
      throw new DownloadError(`Cannot ${purpose}: the hub sends more than ${bytes} bytes`);
    }
    for (let done = 0; done < piece.length;) {
      const { bytesWritten } = await this.#sink
        .write(piece, done, piece.length - done, this.bytes + done)
        .catch((cause) => this.#failOnDisk(cause));
      done += bytesWritten;
    }
    this.#hashing.update(piece);
    this.bytes += piece.length;
    this.#options.onBytes(this.bytes);
  }

  /** Ends a whole file: on the disk and right, or gone. */
  async finish(): Promise<boolean> {
    this.hash = this.#hashing.digest("hex");
    if (this.hash !== this.#wanted.sha256) {
      await this.#clear();
      rmSync(this.#path, { force: true });
      return false;
    }
    await this.#sink.sync().catch((cause) => this.#failOnDisk(cause));
    rmSync(this.#etagFile, { force: true });
    return true;
  }

  async #clear(): Promise<void> {
    rmSync(this.#etagFile, { force: true });
    await this.#sink.truncate(0);
    this.#hashing = createHash("sha256");
    this.bytes = 0;
  }

  async close(): Promise<void> {
    await this.#sink.close();
  }
}

/** Where a part begins, and the length of the whole. */
function rangeOf(headers: IncomingHttpHeaders): [number | undefined, number | undefined] {
  const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers["content-range"] ?? "") ?? [];
  return [from === undefined ? undefined : Number(from), total === "*" ? undefined : Number(total)];
}

function lengthOf(headers: IncomingHttpHeaders): number | undefined {
  const length = headers["content-length"];
  return length === undefined ? undefined : Number(length);
}

/** An entity tag that promises the same bytes; undefined for a weak one and for none. */
function strong(etag: string | string[] | undefined): string | undefined {
  if (typeof etag !== "string") return undefined;
  return /^"[\x21\x23-\x7e]*"$/.test(etag.trim()) ? etag.trim() : undefined;
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/**
 * What a failure of the file system means.
 *
 * @param place the file or folder that it is about
 * @param state how far it was, for a full disk
 */
export function diskFailure(
  purpose: string,
  place: string,
  cause: unknown,
  state = "",
): DownloadError {
  const code = (cause as { code?: unknown } | null)?.code;
  const message = code === "ENOSPC" || code === "EDQUOT"
    ? `the disk is full${state}, free some and pull again, which goes on from there`
    : `the model cache cannot be written (${code ?? "unknown failure"}), check who owns it, or ` +
      "move it with HF_HUB_CACHE";
  return new DownloadError(`Cannot ${purpose}: ${message}`, { cause, place });
}
