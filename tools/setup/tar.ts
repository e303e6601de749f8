/**
 * Reads TAR archives, also gzipped: what a package client and `git archive` write. Files only;
 * folders come from their files, and a wanted link is refused.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { chmodSync, createReadStream, createWriteStream, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { finished } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { SetupError } from "../../src/errors.ts";
import { safeMember } from "./archive_path.ts";

/** What to unpack, and who wants to know. */
export interface UntarOptions {
  /** Where a member goes, relative to the folder; undefined leaves it out. Default: its name. */
  readonly place?: (name: string) => string | undefined;
  /** Told the bytes written so far. */
  readonly onBytes?: (done: number) => void;
  readonly signal?: AbortSignal;
}

const blockBytes = 512;
const metadataBytesMax = 1024 * 1024;

/** Unpacks a `.tar`, `.tar.gz` or `.tgz` into a folder, which may exist. */
export async function untar(
  archive: string,
  folder: string,
  options: UntarOptions = {},
): Promise<void> {
  const file = createReadStream(archive);
  const source = /\.t?gz$/.test(archive) ? file.pipe(createGunzip()) : file;
  file.on("error", (error) => source.destroy(error));
  const reader = new BlockReader(source as AsyncIterable<Uint8Array>, archive);
  try {
    await unpackAll(reader, archive, folder, options);
  } catch (cause) {
    if (cause instanceof SetupError || options.signal?.aborted) throw cause;
    throw damaged(archive, cause instanceof Error ? cause.message : String(cause), cause);
  } finally {
    file.destroy();
  }
}

async function unpackAll(
  reader: BlockReader,
  archive: string,
  folder: string,
  options: UntarOptions,
): Promise<void> {
  let long: { path?: string; size?: number } = {};
  let done = 0;
  for (let header = await reader.header(); header !== undefined; header = await reader.header()) {
    options.signal?.throwIfAborted();
    if ("xgLK".includes(header.type)) {
      const text = await reader.text(header.size);
      if (header.type === "x") long = readPax(text);
      if (header.type === "L") long = { path: text.replace(/\0+$/, "") };
      continue;
    }
    const name = long.path ?? header.name;
    const size = long.size ?? header.size;
    long = {};
    const wanted = header.type === "5" ? undefined : (options.place ?? ((path) => path))(name);
    if (wanted === undefined) {
      await reader.skip(size);
      continue;
    }
    if (header.type !== "0") throw damaged(archive, `its member ${name} is a link or a device`);
    safeMember(archive, name);
    const path = join(folder, wanted);
    mkdirSync(dirname(path), { recursive: true });
    await writeMember(reader, size, path, (bytes) => options.onBytes?.(done += bytes));
    if (header.mode & 0o111) chmodSync(path, 0o755);
  }
}

async function writeMember(
  reader: BlockReader,
  size: number,
  path: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const output = createWriteStream(path);
  const ended = finished(output);
  try {
    for await (const chunk of reader.content(size)) {
      if (!output.write(chunk)) await Promise.race([once(output, "drain"), ended]);
      onBytes(chunk.length);
    }
  } finally {
    output.end();
    await ended;
  }
}

interface Header {
  readonly name: string;
  readonly size: number;
  readonly mode: number;
  readonly type: string;
}

/** Hands out a stream as headers and contents. */
class BlockReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #archive: string;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>, archive: string) {
    this.#source = source[Symbol.asyncIterator]();
    this.#archive = archive;
  }

  /** The next header, or undefined at the end-of-archive mark. */
  async header(): Promise<Header | undefined> {
    const block = Buffer.concat(await Array.fromAsync(this.#take(blockBytes)));
    if (block.every((byte) => byte === 0)) return undefined;
    const text = (from: number, to: number): string =>
      block.toString("utf8", from, to).replace(/\0.*$/s, "");
    const number = (from: number, to: number): number => parseInt(text(from, to).trim() || "0", 8);
    let sum = 0;
    for (const [i, byte] of block.entries()) sum += i >= 148 && i < 156 ? 32 : byte;
    const size = number(124, 136);
    if (sum !== number(148, 156) || !Number.isSafeInteger(size)) {
      throw damaged(this.#archive, "a header has a wrong checksum");
    }
    const prefix = text(257, 262) === "ustar" ? text(345, 500) : "";
    const name = prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`;
    return { name, size, mode: number(100, 108), type: text(156, 157) || "0" };
  }

  /** The content of a member, without its padding. */
  async *content(size: number): AsyncGenerator<Uint8Array> {
    yield* this.#take(size);
    for await (const _ of this.#take((blockBytes - (size % blockBytes)) % blockBytes));
  }

  async skip(size: number): Promise<void> {
    for await (const _ of this.content(size));
  }

  async text(size: number): Promise<string> {
    if (size > metadataBytesMax) throw damaged(this.#archive, "a metadata record is too large");
    return Buffer.concat(await Array.fromAsync(this.content(size))).toString("utf8");
  }

  async *#take(length: number): AsyncGenerator<Uint8Array> {
    for (let left = length; left > 0;) {
      if (this.#rest.length === 0) {
        const next = await this.#source.next();
        if (next.done) throw damaged(this.#archive, "it is cut short");
        this.#rest = next.value;
      }
      const piece = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(piece.length);
      left -= piece.length;
      if (piece.length > 0) yield piece;
    }
  }
}

/** The two keys of a pax record that name a file: lines of "LENGTH KEY=VALUE". */
function readPax(text: string): { path?: string; size?: number } {
  const path = /^\d+ path=(.*)$/m.exec(text)?.[1];
  const size = /^\d+ size=(\d+)$/m.exec(text)?.[1];
  return {
    ...(path === undefined ? {} : { path }),
    ...(size === undefined ? {} : { size: Number(size) }),
  };
}

function damaged(archive: string, why: string, cause?: unknown): SetupError {
  const message = `Cannot unpack ${archive}: ${why}, delete it and run the set-up again`;
  return new SetupError(message, cause === undefined ? {} : { cause });
}
