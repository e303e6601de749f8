/**
 * Metadata: the key-value pairs of a GGUF header, left in the file's bytes and decoded when they
 * are asked for.
 *
 * The reader has checked every length before; here only the type and the range of a value are
 * left to check.
 *
 * @module
 */
import { GgufError } from "../errors.ts";

/** Names of the value types, by the number of `enum gguf_type`. */
export const valueTypes = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "str",
  "arr",
  "u64",
  "i64",
  "f64",
] as const;

/** Type of a metadata value. */
export type ValueType = typeof valueTypes[number];

/** Where one key-value pair lies. Offsets are from the start of the file. */
export interface MetadataEntry {
  readonly key: string;
  readonly type: ValueType;
  /** Type of the elements of an array, else `type`. */
  readonly elementType: ValueType;
  /** Elements of an array, else 1. */
  readonly count: number;
  /** Of the pair. */
  readonly start: number;
  /** Of the value, or of its first element. */
  readonly offset: number;
  /** Behind the pair. */
  readonly end: number;
  /** Of the length before each string of an array of strings, and `end`. */
  readonly starts?: Uint32Array;
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const integerTypes: readonly ValueType[] = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"];
const floatTypes: readonly ValueType[] = ["f32", "f64"];

/** An array of strings, decoded one by one. */
export class StringArray {
  readonly length: number;
  /** The file's bytes. */
  readonly source: Uint8Array;
  readonly #starts: Uint32Array;

  /** @param starts of the 8 bytes of length before each string, and the end of the last */
  constructor(source: Uint8Array, starts: Uint32Array) {
    this.source = source;
    this.#starts = starts;
    this.length = starts.length - 1;
  }

  /** First byte of string `i` in `source`. */
  start(i: number): number {
    return this.#starts[i]! + 8;
  }

  /** Behind the last byte of string `i`. */
  end(i: number): number {
    return this.#starts[i + 1]!;
  }

  /** The bytes of string `i`, not copied. */
  bytes(i: number): Uint8Array {
    return this.source.subarray(this.start(i), this.end(i));
  }

  /** String `i`; bytes that are not UTF-8 become U+FFFD. */
  at(i: number): string {
    return utf8.decode(this.bytes(i));
  }
}

/**
 * Typed access to the metadata of one file. A missing or ill-typed key throws a GgufError that
 * names it.
 */
export class Metadata {
  readonly #file: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #entries: ReadonlyMap<string, MetadataEntry>;

  /** @param bytes the file from its start to the end of the header */
  constructor(file: string, bytes: Uint8Array, entries: ReadonlyMap<string, MetadataEntry>) {
    this.#file = file;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#entries = entries;
  }

  /** Whether the file has the key. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Every pair in the order of the file. */
  entries(): IterableIterator<MetadataEntry> {
    return this.#entries.values();
  }

  /** The bytes of one pair, key and type included, not copied. */
  raw(entry: MetadataEntry): Uint8Array {
    return this.#bytes.subarray(entry.start, entry.end);
  }

  /** An integer from 0 to 2 ** 32 - 1, of any integer type; `fallback` when the key is absent. */
  u32(key: string, fallback?: number): number {
    const entry = this.#find(key, integerTypes, "an unsigned integer", fallback);
    if (!entry) return fallback!;
    const value = this.#integer(entry);
    if (value >= 0 && value < 2 ** 32) return value;
    return this.#refuse(entry, `is ${value}`, "an integer from 0 to 4294967295");
  }

  /** A finite float of either size; `fallback` when the key is absent. */
  f32(key: string, fallback?: number): number {
    const entry = this.#find(key, floatTypes, "a float", fallback);
    if (!entry) return fallback!;
    const { type, offset } = entry;
    const value = type === "f32"
      ? this.#view.getFloat32(offset, true)
      : this.#view.getFloat64(offset, true);
    if (Number.isFinite(value)) return value;
    return this.#refuse(entry, `is ${value}`, "a finite number");
  }

  /** A boolean; `fallback` when the key is absent. */
  bool(key: string, fallback?: boolean): boolean {
    const entry = this.#find(key, ["bool"], "a boolean", fallback);
    return entry ? this.#bytes[entry.offset] !== 0 : fallback!;
  }

  /** A string, bytes that are not UTF-8 become U+FFFD; `fallback` when the key is absent. */
  str(key: string, fallback?: string): string {
    const entry = this.#find(key, ["str"], "a string", fallback);
    return entry ? utf8.decode(this.#bytes.subarray(entry.offset, entry.end)) : fallback!;
  }

  /** An array of strings. */
  strings(key: string): StringArray {
    const entry = this.#array(key, ["str"], "an array of strings");
    return new StringArray(this.#bytes, entry.starts!);
  }

  /** An array of 32-bit integers, copied. */
  i32s(key: string): Int32Array {
    const { offset, end } = this.#array(key, ["i32", "u32"], "an array of 32-bit integers");
    return new Int32Array(this.#bytes.slice(offset, end).buffer);
  }

  /** An array of 32-bit floats, copied; 32-bit integers are converted. */
  f32s(key: string): Float32Array {
    const entry = this.#array(key, ["f32", "i32"], "an array of 32-bit floats");
    const bytes = this.#bytes.slice(entry.offset, entry.end).buffer;
    return entry.elementType === "f32"
      ? new Float32Array(bytes)
      : new Float32Array(new Int32Array(bytes));
  }

  #find(
    key: string,
    types: readonly ValueType[],
    expected: string,
    fallback: unknown,
  ): MetadataEntry | undefined {
    const entry = this.#entries.get(key);
    if (!entry) {
      if (fallback !== undefined) return undefined;
      throw new GgufError(
        `Cannot read "${this.#file}": key "${key}" is missing, expected ${expected}`,
        this.#file,
        key,
        0,
      );
    }
    if (types.includes(entry.type)) return entry;
    return this.#refuse(entry, `has the type ${typeName(entry)}`, expected);
  }

  #array(key: string, elements: readonly ValueType[], expected: string): MetadataEntry {
    const entry = this.#find(key, ["arr"], expected, undefined)!;
    if (elements.includes(entry.elementType)) return entry;
    return this.#refuse(entry, `has the type ${typeName(entry)}`, expected);
  }

  #integer({ type, offset }: MetadataEntry): number {
    const view = this.#view;
    if (type === "u8") return view.getUint8(offset);
    if (type === "i8") return view.getInt8(offset);
    if (type === "u16") return view.getUint16(offset, true);
    if (type === "i16") return view.getInt16(offset, true);
    if (type === "u32") return view.getUint32(offset, true);
    if (type === "i32") return view.getInt32(offset, true);
    if (type === "u64") return Number(view.getBigUint64(offset, true));
    return Number(view.getBigInt64(offset, true));
  }

  #refuse({ key, offset }: MetadataEntry, found: string, expected: string): never {
    throw new GgufError(
      `Cannot read "${this.#file}": key "${key}" ${found}, expected ${expected}`,
      this.#file,
      key,
      offset,
    );
  }
}

function typeName({ type, elementType }: MetadataEntry): string {
  return type === "arr" ? `arr[${elementType}]` : type;
}
