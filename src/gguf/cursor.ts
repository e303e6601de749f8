/**
 * HeaderCursor: reads little-endian numbers and text one after the other, and never past the end
 * of the file.
 *
 * Knows bytes, not what they mean. More of the file is read when the cursor gets there.
 *
 * @module
 */
import { GgufError } from "../errors.ts";

/** Where a cursor reads. */
export interface HeaderSource {
  /** Path of the file, for messages. */
  readonly file: string;
  /** Bytes of the whole file. */
  readonly fileSize: number;
  /** Most bytes that a header may have. */
  readonly headerBytes: number;
  /**
   * Gives the first `length` bytes of the file; `length` is at most `fileSize` and
   * `headerBytes`.
   */
  readonly read: (length: number) => Uint8Array;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A position in a header. */
export class HeaderCursor {
  /** The bytes read so far, from the start of the file. */
  bytes: Uint8Array;
  /** Of the next byte. */
  offset = 0;
  readonly #source: HeaderSource;
  #view: DataView;

  /** @param length bytes to begin with */
  constructor(source: HeaderSource, length: number) {
    this.#source = source;
    this.bytes = source.read(Math.min(length, source.fileSize, source.headerBytes));
    this.#view = viewOf(this.bytes);
  }

  /** Bytes of the file that follow. */
  get left(): number {
    return this.#source.fileSize - this.offset;
  }

  /**
   * Refuses the file.
   *
   * @param problem what is wrong and what was expected
   * @param key metadata key or tensor name
   * @param offset where; default here
   */
  fail(problem: string, key?: string, offset: number = this.offset): never {
    const { file } = this.#source;
    throw new GgufError(`Cannot read "${file}": ${problem}`, file, key, offset);
  }

  /** Makes sure that `length` bytes follow. */
  need(length: number, what: string, key?: string): void {
    const end = this.offset + length;
    if (end <= this.bytes.length) return;
    const { fileSize, headerBytes, read } = this.#source;
    if (end > fileSize) {
      this.fail(
        `${what} ends at byte ${end} and the file has ${fileSize}, it is cut off or damaged, get it again`,
        key,
      );
    }
    if (end > headerBytes) {
      this.fail(
        `${what} ends at byte ${end}, expected a header of at most ${headerBytes} bytes`,
        key,
      );
    }
    this.bytes = read(Math.min(fileSize, headerBytes, Math.max(end, 2 * this.bytes.length)));
    this.#view = viewOf(this.bytes);
  }

  u8(what: string, key?: string): number {
    this.need(1, what, key);
    return this.bytes[this.offset++]!;
  }

  u32(what: string, key?: string): number {
    this.need(4, what, key);
    const value = this.#view.getUint32(this.offset, true);
    this.offset += 4;
    return value;
  }

  /** 64 bits as a number: exact below 2 ** 53, far above every limit otherwise. */
  u64(what: string, key?: string): number {
    this.need(8, what, key);
    const low = this.#view.getUint32(this.offset, true);
    const high = this.#view.getUint32(this.offset + 4, true);
    this.offset += 8;
    return high * 2 ** 32 + low;
  }

  /**
   * Skips strings with their lengths before them.
   *
   * @returns where each begins, its length first, and where the last one ends
   */
  strings(count: number, bytesMax: number, what: string, key: string): Uint32Array {
    // Each has at least its length, so that a false count cannot make the result large.
    this.need(count * 8, what, key);
    const starts = new Uint32Array(count + 1);
    let { bytes, offset } = this;
    for (let i = 0; i < count; i++) {
      starts[i] = offset;
      // A vocabulary has 100,000 strings: those that are short and read already take no call.
      let length = bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16);
      const high = bytes[offset + 3]! | bytes[offset + 4]! | bytes[offset + 5]! |
        bytes[offset + 6]! | bytes[offset + 7]!;
      const next = offset + 8 + length;
      if (high !== 0 || length > bytesMax || !(next <= bytes.length)) {
        this.offset = offset;
        length = this.u64(what, key);
        if (length > bytesMax) {
          const expected = `expected at most ${bytesMax}`;
          this.fail(`a string of key "${key}" has ${length} bytes, ${expected}`, key, offset);
        }
        this.need(length, what, key);
        bytes = this.bytes;
      }
      offset += 8 + length;
    }
    this.offset = starts[count] = offset;
    return starts;
  }

  /** Text with its length before it, of 1 to `bytesMax` bytes of UTF-8. */
  name(what: string, bytesMax: number): string {
    const start = this.offset;
    const length = this.u64(`the length of ${what}`);
    if (length < 1 || length > bytesMax) {
      this.fail(`${what} has ${length} bytes, expected 1 to ${bytesMax}`, undefined, start);
    }
    this.need(length, what);
    const bytes = this.bytes.subarray(this.offset, this.offset + length);
    this.offset += length;
    try {
      return utf8.decode(bytes);
    } catch (cause) {
      const { file } = this.#source;
      const problem = `${what} is not UTF-8`;
      throw new GgufError(`Cannot read "${file}": ${problem}`, file, undefined, start, { cause });
    }
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
