/**
 * The limits of the GGUF reader: what a header may claim before the reader refuses it.
 *
 * @module
 */

/** How large the parts of a header may be. */
export interface GgufLimits {
  /** Metadata keys. */
  keys: number;
  /** Tensors. */
  tensors: number;
  /** Bytes of a metadata key. */
  keyBytes: number;
  /** Bytes of a tensor name; ggml has room for no more. */
  nameBytes: number;
  /** Bytes of a string value. */
  stringBytes: number;
  /** Elements of an array value. */
  arrayLength: number;
  /** Dimensions of a tensor; ggml has no more. */
  dimensions: number;
  /** Least `general.alignment`, a power of two. */
  alignmentMin: number;
  /** Greatest `general.alignment`, a power of two. */
  alignmentMax: number;
  /** Bytes from the start of the file to the end of the tensor index. */
  headerBytes: number;
}

/** The limits that `readGguf` and `parseGguf` use where none are given. */
export const ggufLimits: Readonly<GgufLimits> = {
  keys: 65_536,
  tensors: 65_536,
  keyBytes: 65_535,
  nameBytes: 63,
  stringBytes: 16 * 2 ** 20,
  arrayLength: 4 * 2 ** 20,
  dimensions: 4,
  alignmentMin: 8,
  alignmentMax: 65_536,
  headerBytes: 256 * 2 ** 20,
};
