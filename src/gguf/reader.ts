/**
 * Reads the header of a GGUF file: metadata and tensor index, versions 2 and 3, little endian.
 *
 * A file is hostile until every number in it was compared with its limit and with the real size
 * of the file. What is wrong becomes a GgufError with file, key and offset; nothing else is ever
 * thrown. Knows no architecture.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { GgufError } from "../errors.ts";
import { HeaderCursor } from "./cursor.ts";
import { type GgufLimits, ggufLimits } from "./limits.ts";
import { Metadata, type MetadataEntry, type ValueType, valueTypes } from "./metadata.ts";
import { tensorTypes } from "./types.ts";

/** One tensor of a file. */
export interface TensorInfo {
  readonly name: string;
  /** Number of `enum ggml_type`; a key of `tensorTypes`. */
  readonly type: number;
  /** Sizes in ggml order, dimension 0 is contiguous; unused ones are 1. */
  readonly ne: readonly [number, number, number, number];
  /** First byte, from the start of the file. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

/** The header of a GGUF file. */
export interface Gguf {
  /** Path of the file. */
  readonly file: string;
  /** Bytes of the file. */
  readonly fileSize: number;
  /** 2 or 3. */
  readonly version: number;
  readonly metadata: Metadata;
  /** By name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** First byte of the tensor data, from the start of the file. */
  readonly dataOffset: number;
}

const MAGIC = 0x46554747; // "GGUF"
const ALIGNMENT = 32;
/** What is read first; the header of a vocabulary of 49,000 tokens fits. */
const FIRST_READ = 2 * 2 ** 20;
/** Bytes of a value, 0 where they depend on it. */
const valueBytes: Readonly<Record<ValueType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  str: 0,
  arr: 0,
  u64: 8,
  i64: 8,
  f64: 8,
};

/**
 * Opens a file, reads its header and closes it.
 *
 * @throws {GgufError} when the file cannot be read or is not what its header says
 */
export function readGguf(path: string, limits: GgufLimits = ggufLimits): Gguf {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const handle = fd;
    const stat = fstatSync(handle);
    if (!stat.isFile()) throw new Error("it is not a file");
    return parse(path, stat.size, limits, FIRST_READ, (length) => readStart(handle, length));
  } catch (cause) {
    if (cause instanceof GgufError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new GgufError(`Cannot read "${path}": ${reason}`, path, undefined, 0, { cause });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Reads the header of a file that is in memory, or of which the start is.
 *
 * @param bytes the file's first bytes, kept by the result
 * @param fileSize bytes of the whole file
 * @param file path, for messages
 * @throws {GgufError} when the file is not what its header says, or its header is longer than
 *   `bytes`
 */
export function parseGguf(
  bytes: Uint8Array,
  fileSize: number,
  file: string,
  limits: GgufLimits = ggufLimits,
): Gguf {
  return parse(file, fileSize, limits, bytes.length, (length) => {
    if (length <= bytes.length) return bytes.subarray(0, length);
    const problem = `the header is longer than the ${bytes.length} bytes that were given`;
    throw new GgufError(`Cannot read "${file}": ${problem}`, file, undefined, bytes.length);
  });
}

function readStart(fd: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const count = readSync(fd, bytes, done, length - done, done);
    if (count === 0) throw new Error(`the file shrank to ${done} bytes while it was read`);
    done += count;
  }
  return bytes;
}

function parse(
  file: string,
  fileSize: number,
  limits: GgufLimits,
  firstRead: number,
  read: (length: number) => Uint8Array,
): Gguf {
  const { headerBytes } = limits;
  const cursor = new HeaderCursor({ file, fileSize, headerBytes, read }, firstRead);
  const version = readVersion(cursor);
  const tensorCount = readCount(cursor, "tensors", limits.tensors);
  const keyCount = readCount(cursor, "metadata keys", limits.keys);

  const entries = new Map<string, MetadataEntry>();
  for (let i = 0; i < keyCount; i++) {
    const entry = readEntry(cursor, limits);
    if (entries.has(entry.key)) {
      cursor.fail(`key "${entry.key}" is there twice`, entry.key, entry.start);
    }
    entries.set(entry.key, entry);
  }
  const alignment = readAlignment(cursor, entries, limits);

  const tensors = new Map<string, TensorInfo>();
  for (let i = 0; i < tensorCount; i++) {
    const start = cursor.offset;
    const tensor = readTensor(cursor, limits, alignment);
    if (tensors.has(tensor.name)) {
      cursor.fail(`tensor "${tensor.name}" is there twice`, tensor.name, start);
    }
    tensors.set(tensor.name, tensor);
  }
  const dataOffset = Math.ceil(cursor.offset / alignment) * alignment;
  placeTensors(cursor, tensors, dataOffset, fileSize);
  const metadata = new Metadata(file, cursor.bytes, entries);
  return { file, fileSize, version, metadata, tensors, dataOffset };
}

function readVersion(cursor: HeaderCursor): number {
  const magic = cursor.u32("the magic number");
  if (magic !== MAGIC) {
    const hex = magic.toString(16).padStart(8, "0");
    cursor.fail(
      `it begins with ${hex}, expected a GGUF file, which begins with 46554747`,
      undefined,
      0,
    );
  }
  const version = cursor.u32("the version");
  if (version === 2 || version === 3) return version;
  if (version === 2 << 24 || version === 3 << 24) {
    cursor.fail("it is a big-endian GGUF file, expected little endian, convert it", undefined, 4);
  }
  return cursor.fail(`its GGUF version is ${version}, expected 2 or 3`, undefined, 4);
}

function readCount(cursor: HeaderCursor, what: string, max: number): number {
  const start = cursor.offset;
  const count = cursor.u64(`the number of ${what}`);
  if (count > max) {
    cursor.fail(`it has ${count} ${what}, expected at most ${max}`, undefined, start);
  }
  return count;
}

function readEntry(cursor: HeaderCursor, limits: GgufLimits): MetadataEntry {
  const start = cursor.offset;
  const key = cursor.name("a metadata key", limits.keyBytes);
  const type = readValueType(cursor, key);
  const isArray = type === "arr";
  const elementType = isArray ? readValueType(cursor, key) : type;
  const what = `the value of key "${key}"`;
  let count = 1;
  if (isArray) {
    if (elementType === "arr") cursor.fail(`key "${key}" is an array of arrays`, key);
    count = cursor.u64(what, key);
    if (count > limits.arrayLength) {
      const problem = `key "${key}" has ${count} elements, expected at most ${limits.arrayLength}`;
      cursor.fail(problem, key, cursor.offset - 8);
    }
  }
  if (elementType !== "str") {
    const offset = cursor.offset;
    cursor.need(count * valueBytes[elementType], what, key);
    cursor.offset += count * valueBytes[elementType];
    return { key, type, elementType, count, start, offset, end: cursor.offset };
  }
  const starts = cursor.strings(count, limits.stringBytes, what, key);
  const offset = starts[0]! + (isArray ? 0 : 8);
  const entry = { key, type, elementType, count, start, offset, end: cursor.offset };
  return isArray ? { ...entry, starts } : entry;
}

function readValueType(cursor: HeaderCursor, key: string): ValueType {
  const number = cursor.u32(`the type of key "${key}"`, key);
  const type = valueTypes[number];
  if (type) return type;
  const problem = `key "${key}" has the type number ${number}, expected 0 to ${
    valueTypes.length - 1
  }`;
  return cursor.fail(problem, key, cursor.offset - 4);
}

/** The pairs that the reader itself depends on. */
function readAlignment(
  cursor: HeaderCursor,
  entries: ReadonlyMap<string, MetadataEntry>,
  limits: GgufLimits,
): number {
  const architecture = entries.get("general.architecture");
  if (architecture && architecture.type !== "str") {
    const { key, type, offset } = architecture;
    cursor.fail(`key "${key}" has the type ${type}, expected str`, key, offset);
  }
  const entry = entries.get("general.alignment");
  if (!entry) return ALIGNMENT;
  const { key, type, offset } = entry;
  if (type !== "u32") cursor.fail(`key "${key}" has the type ${type}, expected u32`, key, offset);
  const { buffer, byteOffset } = cursor.bytes;
  const value = new DataView(buffer, byteOffset).getUint32(offset, true);
  const { alignmentMin, alignmentMax } = limits;
  const isPowerOfTwo = (value & (value - 1)) === 0;
  if (value >= alignmentMin && value <= alignmentMax && isPowerOfTwo) return value;
  const expected = `a power of two from ${alignmentMin} to ${alignmentMax}`;
  return cursor.fail(`key "${key}" is ${value}, expected ${expected}`, key, offset);
}

/** Reads an entry of the index; its offset is still that from the start of the data. */
function readTensor(cursor: HeaderCursor, limits: GgufLimits, alignment: number): TensorInfo {
  const name = cursor.name("a tensor name", limits.nameBytes);
  const fail = (problem: string, back: number): never =>
    cursor.fail(`tensor "${name}" ${problem}`, name, cursor.offset - back);
  const what = `the entry of tensor "${name}"`;
  const dimensions = cursor.u32(what, name);
  if (dimensions < 1 || dimensions > limits.dimensions) {
    fail(`has ${dimensions} dimensions, expected 1 to ${limits.dimensions}`, 4);
  }
  const ne: [number, number, number, number] = [1, 1, 1, 1];
  let elements = 1;
  for (let i = 0; i < dimensions; i++) {
    const n = cursor.u64(what, name);
    elements *= n;
    // A negative size reads as one beyond 2 ** 63.
    if (n < 1 || elements > Number.MAX_SAFE_INTEGER) {
      fail(`has ${n} as size ${i}, expected sizes from 1 up whose product is below 2 ** 53`, 8);
    }
    ne[i] = n;
  }
  const type = cursor.u32(what, name);
  const layout = tensorTypes.get(type);
  if (!layout) return fail(`has the type number ${type}, expected one that ggml 0.25.1 has`, 4);
  if (ne[0] % layout.block !== 0) {
    fail(
      `has rows of ${ne[0]} values, expected a multiple of ${layout.block} for ${layout.name}`,
      4,
    );
  }
  const size = (elements / layout.block) * layout.bytes;
  const offset = cursor.u64(what, name);
  if (offset % alignment !== 0) fail(`begins at ${offset}, expected a multiple of ${alignment}`, 8);
  return { name, type, ne, offset, size };
}

/** Turns the offsets into those from the start of the file; no two tensors may share a byte. */
function placeTensors(
  cursor: HeaderCursor,
  tensors: Map<string, TensorInfo>,
  dataOffset: number,
  fileSize: number,
): void {
  for (const [name, tensor] of tensors) {
    const offset = dataOffset + tensor.offset;
    const end = offset + tensor.size;
    if (end > fileSize) {
      const problem = `tensor "${name}" ends at byte ${end} and the file has ${fileSize}`;
      cursor.fail(`${problem}, it is cut off or damaged, get it again`, name, offset);
    }
    tensors.set(name, { ...tensor, offset });
  }
  const inOrder = [...tensors.values()].sort((a, b) => a.offset - b.offset);
  inOrder.reduce<TensorInfo | undefined>((before, tensor) => {
    if (before && before.offset + before.size > tensor.offset) {
      const problem = `tensors "${before.name}" and "${tensor.name}" overlap`;
      cursor.fail(problem, tensor.name, tensor.offset);
    }
    return tensor;
  }, undefined);
}
