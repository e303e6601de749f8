/**
 * Reads ZIP archives, which Python wheels are, with bounded memory. Stored and deflated members
 * only: no encryption, no ZIP64, no links.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { chmodSync, createReadStream, createWriteStream, mkdirSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setImmediate as breathe } from "node:timers/promises";
import { crc32, createInflateRaw, inflateRawSync } from "node:zlib";
import { SetupError } from "../../src/errors.ts";
import { safeMember } from "./archive_path.ts";

interface Member {
  readonly name: string;
  readonly deflated: boolean;
  readonly crc: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly headerOffset: number;
  readonly mode: number;
}

/** What to unpack, and who wants to know. */
export interface UnzipOptions {
  /** Where a member goes, relative to the folder; undefined leaves it out. Default: its name. */
  readonly place?: (name: string) => string | undefined;
  /** Told the bytes written so far and in all. */
  readonly onBytes?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

const endSignature = 0x06054b50;
const centralSignature = 0x02014b50;
const localSignature = 0x04034b50;
const endBytesMax = 22 + 0xffff;
/** Larger members are streamed, smaller ones unpacked in one call. */
const wholeBytesMax = 4 * 1024 * 1024;
const breatheEveryMs = 20;
const linkMode = 0o120000;

/** Unpacks an archive into a folder, which may exist. Restores the executable bit. */
export async function unzip(
  archive: string,
  folder: string,
  options: UnzipOptions = {},
): Promise<void> {
  const file = await open(archive);
  try {
    const place = options.place ?? ((name: string) => name);
    const chosen = (await readDirectory(file, archive)).flatMap((member) => {
      const target = member.name.endsWith("/") ? undefined : place(member.name);
      return target === undefined ? [] : [{ member, path: join(folder, target) }];
    });
    const total = chosen.reduce((sum, { member }) => sum + member.bytes, 0);
    let done = 0;
    let lastBreathMs = performance.now();
    for (const { member, path } of chosen) {
      mkdirSync(dirname(path), { recursive: true });
      await unpack(file, archive, member, path, (bytes) => {
        done += bytes;
        options.onBytes?.(done, total);
        options.signal?.throwIfAborted();
      });
      if (member.mode & 0o111) chmodSync(path, 0o755);
      if (performance.now() - lastBreathMs < breatheEveryMs) continue;
      await breathe();
      lastBreathMs = performance.now();
    }
  } finally {
    await file.close();
  }
}

async function readDirectory(file: FileHandle, archive: string): Promise<Member[]> {
  const size = (await file.stat()).size;
  const end = await readEnd(file, archive, size);
  const count = end.readUInt16LE(10);
  const bytes = end.readUInt32LE(12);
  const offset = end.readUInt32LE(16);
  if (count === 0xffff || offset === 0xffffffff) throw damaged(archive, "it is a ZIP64 archive");
  if (offset + bytes > size) throw damaged(archive, "its directory lies past its end");
  const directory = await readAt(file, archive, offset, bytes);
  const members: Member[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes || directory.readUInt32LE(at) !== centralSignature) {
      throw damaged(archive, `its directory entry ${i} is damaged`);
    }
    const nameBytes = directory.readUInt16LE(at + 28);
    const extraBytes = directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
    members.push(readMember(archive, directory.subarray(at, at + 46 + nameBytes)));
    at += 46 + nameBytes + extraBytes;
  }
  return members;
}

async function readEnd(file: FileHandle, archive: string, size: number): Promise<Buffer> {
  const length = Math.min(size, endBytesMax);
  const tail = await readAt(file, archive, size - length, length);
  for (let at = length - 22; at >= 0; at--) {
    if (tail.readUInt32LE(at) === endSignature) return tail.subarray(at);
  }
  throw damaged(archive, "it is cut short or no ZIP archive");
}

function readMember(archive: string, entry: Buffer): Member {
  const flags = entry.readUInt16LE(8);
  const method = entry.readUInt16LE(10);
  const name = entry.subarray(46).toString("utf8");
  safeMember(archive, name);
  const mode = entry.readUInt32LE(38) >>> 16;
  if (flags & 1) throw damaged(archive, `its member ${name} is encrypted`);
  if (method !== 0 && method !== 8) {
    throw damaged(archive, `its member ${name} has method ${method}`);
  }
  if ((mode & 0o170000) === linkMode) throw damaged(archive, `its member ${name} is a link`);
  return {
    name,
    mode,
    deflated: method === 8,
    crc: entry.readUInt32LE(16),
    packedBytes: entry.readUInt32LE(20),
    bytes: entry.readUInt32LE(24),
    headerOffset: entry.readUInt32LE(42),
  };
}

async function unpack(
  file: FileHandle,
  archive: string,
  member: Member,
  path: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const header = await readAt(file, archive, member.headerOffset, 30);
  if (header.readUInt32LE(0) !== localSignature) {
    throw damaged(archive, `the header of ${member.name} is damaged`);
  }
  const start = member.headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  let crc = 0;
  let bytes = 0;
  if (Math.max(member.bytes, member.packedBytes) <= wholeBytesMax) {
    const packed = await readAt(file, archive, start, member.packedBytes);
    const data = member.deflated ? inflateWhole(archive, member, packed) : packed;
    writeFileSync(path, data);
    crc = crc32(data);
    bytes = data.length;
    onBytes(bytes);
  } else {
    const packed = createReadStream(archive, { start, end: start + member.packedBytes - 1 });
    const inflate = member.deflated ? packed.pipe(createInflateRaw()) : packed;
    packed.on("error", (error) => inflate.destroy(error));
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of inflate as AsyncIterable<Uint8Array>) {
        crc = crc32(chunk, crc);
        bytes += chunk.length;
        onBytes(chunk.length);
        yield chunk;
      }
    };
    await pipeline(Readable.from(counted()), createWriteStream(path));
  }
  if (bytes !== member.bytes || crc !== member.crc) {
    throw damaged(archive, `the content of ${member.name} is damaged`);
  }
}

function inflateWhole(archive: string, member: Member, packed: Buffer): Buffer {
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, member.bytes) });
  } catch (cause) {
    throw damaged(archive, `the content of ${member.name} is damaged`, cause);
  }
}

async function readAt(
  file: FileHandle,
  archive: string,
  offset: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) throw damaged(archive, "it is cut short");
    filled += bytesRead;
  }
  return buffer;
}

function damaged(archive: string, why: string, cause?: unknown): SetupError {
  const message = `Cannot unpack ${archive}: ${why}, delete it and run the set-up again`;
  return new SetupError(message, cause === undefined ? {} : { cause });
}
