/**
 * Writes small GGUF files for tests, and says where each number of a header lies, so that a test
 * can damage it.
 *
 * It writes what it is told: sizes and offsets may be wrong on purpose.
 *
 * @module
 */

/** A metadata value with its type; arrays hold one type. */
export type GgufValue =
  | { type: "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64"; value: number }
  | { type: "u64" | "i64"; value: bigint }
  | { type: "bool"; value: boolean }
  | { type: "str"; value: string }
  | { type: "arr"; element: string; items: readonly GgufValue[] };

/** A tensor to write. */
export interface GgufTensor {
  name: string;
  /** Number of `enum ggml_type`. Default 0, f32. */
  type?: number;
  ne: readonly number[];
  /** What follows the header for it; default zeros of f32 size. */
  data?: Uint8Array;
  /** From the start of the data; default behind the tensor before. */
  offset?: number;
}

/** What to write. */
export interface GgufFile {
  version?: number;
  metadata?: readonly (readonly [key: string, value: GgufValue])[];
  tensors?: readonly GgufTensor[];
  /** Default 32; it is not written as a key. */
  alignment?: number;
}

/** One number of a header. */
export interface GgufField {
  at: number;
  bytes: 4 | 8;
  what: "magic" | "version" | "count" | "length" | "type" | "dimensions" | "size" | "offset";
}

/** A written file. */
export interface WrittenGguf {
  bytes: Uint8Array;
  fields: GgufField[];
  /** Behind the tensor index, before the padding. */
  headerEnd: number;
}

const typeNumbers = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr"]
  .concat(["u64", "i64", "f64"]);

export const u32 = (value: number): GgufValue => ({ type: "u32", value });
export const f32 = (value: number): GgufValue => ({ type: "f32", value });
export const bool = (value: boolean): GgufValue => ({ type: "bool", value });
export const str = (value: string): GgufValue => ({ type: "str", value });
export const strings = (values: readonly string[]): GgufValue => ({
  type: "arr",
  element: "str",
  items: values.map(str),
});
export const i32s = (values: readonly number[]): GgufValue => ({
  type: "arr",
  element: "i32",
  items: values.map((value) => ({ type: "i32", value })),
});
export const f32s = (values: readonly number[]): GgufValue => ({
  type: "arr",
  element: "f32",
  items: values.map(f32),
});

/** Writes a file. */
export function writeGguf(
  { version = 3, metadata = [], tensors = [], alignment = 32 }: GgufFile,
): WrittenGguf {
  const out = new Output();
  out.field(0x46554747, "magic");
  out.field(version, "version");
  out.field(tensors.length, "count", 8);
  out.field(metadata.length, "count", 8);
  for (const [key, value] of metadata) {
    out.text(key);
    writeType(out, value.type);
    writeValue(out, value);
  }
  let next = 0;
  const placed = tensors.map((tensor) => {
    const data = tensor.data ?? new Uint8Array(4 * tensor.ne.reduce((a, b) => a * b, 1));
    const offset = tensor.offset ?? next;
    next = Math.ceil((offset + data.length) / alignment) * alignment;
    return { ...tensor, data, offset };
  });
  for (const { name, type = 0, ne, offset } of placed) {
    out.text(name);
    out.field(ne.length, "dimensions");
    for (const n of ne) out.field(n, "size", 8);
    out.field(type, "type");
    out.field(offset, "offset", 8);
  }
  const headerEnd = out.length;
  const dataOffset = Math.ceil(headerEnd / alignment) * alignment;
  const end = Math.max(
    headerEnd,
    ...placed.map(({ data, offset }) => dataOffset + offset + data.length),
  );
  const bytes = new Uint8Array(end);
  bytes.set(out.bytes());
  for (const { data, offset } of placed) bytes.set(data, dataOffset + offset);
  return { bytes, fields: out.fields, headerEnd };
}

function writeType(out: Output, type: string): void {
  out.field(typeNumbers.indexOf(type), "type");
}

function writeValue(out: Output, value: GgufValue): void {
  if (value.type === "arr") {
    writeType(out, value.element);
    out.field(value.items.length, "length", 8);
    for (const item of value.items) writeValue(out, item);
  } else if (value.type === "str") {
    out.text(value.value);
  } else {
    out.number(value.type, value.value);
  }
}

/** Grows byte by byte; files of tests are small. */
class Output {
  readonly fields: GgufField[] = [];
  readonly #bytes: number[] = [];

  get length(): number {
    return this.#bytes.length;
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  field(value: number, what: GgufField["what"], bytes: 4 | 8 = 4): void {
    this.fields.push({ at: this.length, bytes, what });
    if (bytes === 8) this.number("i64", BigInt(value));
    else this.number("u32", value);
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.field(bytes.length, "length", 8);
    this.#bytes.push(...bytes);
  }

  number(type: string, value: number | bigint | boolean): void {
    const view = new DataView(new ArrayBuffer(8));
    const bits = Number(/\d+/.exec(type)?.[0] ?? 8);
    if (type === "f32") view.setFloat32(0, Number(value), true);
    else if (type === "f64") view.setFloat64(0, Number(value), true);
    else view.setBigInt64(0, BigInt(value), true);
    this.#bytes.push(...new Uint8Array(view.buffer, 0, bits / 8));
  }
}
