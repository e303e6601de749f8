/**
 * Writes small ZIP and TAR archives by the byte, so that tests can make damaged and hostile ones.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { crc32, deflateRawSync } from "node:zlib";

/** A member of an archive to write. */
export interface Member {
  readonly name: string;
  readonly data?: string | Uint8Array;
  /** Unix mode; default a plain file that is not executable. */
  readonly mode?: number;
  /** ZIP: keep the data as it is. */
  readonly stored?: boolean;
  /** ZIP: claim this checksum. */
  readonly crc?: number;
  /** TAR: type letter; default "0". */
  readonly type?: string;
}

function u16(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 2);
  values.forEach((value, i) => buffer.writeUInt16LE(value, i * 2));
  return buffer;
}

function u32(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => buffer.writeUInt32LE(value >>> 0, i * 4));
  return buffer;
}

/** A ZIP archive of these members. */
export function makeZip(members: readonly Member[]): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const { name, data = "", mode = 0o100644, stored = false, crc } of members) {
    const plain = Buffer.from(data);
    const packed = stored ? plain : deflateRawSync(plain);
    const path = Buffer.from(name);
    const shared = Buffer.concat([
      u16(20, 0, stored ? 0 : 8, 0, 0),
      u32(crc ?? crc32(plain), packed.length, plain.length),
      u16(path.length, 0),
    ]);
    const local = Buffer.concat([u32(0x04034b50), shared, path, packed]);
    const attributes = Buffer.concat([u16(0, 0, 0), u32(mode << 16, offset)]);
    centrals.push(Buffer.concat([u32(0x02014b50), u16(0x0314), shared, attributes, path]));
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const counts = u16(0, 0, members.length, members.length);
  const end = Buffer.concat([u32(0x06054b50), counts, u32(directory.length, offset), u16(0)]);
  return Buffer.concat([...locals, directory, end]);
}

/** A TAR archive of these members. */
export function makeTar(members: readonly Member[]): Buffer {
  const blocks = members.map(({ name, data = "", mode = 0o644, type = "0" }) => {
    const content = Buffer.from(data);
    const header = Buffer.alloc(512);
    header.write(name, 0, 100);
    header.write(`${mode.toString(8).padStart(7, "0")}\0`, 100);
    header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
    header.write(" ".repeat(8), 148);
    header.write(type, 156);
    header.write("ustar\x0000", 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
    return Buffer.concat([header, content, padding]);
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** A pax record "LENGTH KEY=VALUE\n"; its length counts itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
  return `${length}${rest}`;
}
