/**
 * The tensor types of GGUF files: their numbers, ggml's names for them, and how many bytes a
 * block takes.
 *
 * Knows numbers only; ggml itself is not needed to read a header. Source: ggml.h and
 * ggml-common.h of ggml 0.25.1.
 *
 * @module
 */

/** One tensor type. */
export interface TensorType {
  /** ggml's name, such as `q4_1`. */
  readonly name: string;
  /** Values in a block; rows hold whole blocks. */
  readonly block: number;
  /** Bytes of a block. */
  readonly bytes: number;
}

/** Every type that a file may hold, by the number of `enum ggml_type`. Removed types are absent. */
export const tensorTypes: ReadonlyMap<number, TensorType> = new Map([
  [0, { name: "f32", block: 1, bytes: 4 }],
  [1, { name: "f16", block: 1, bytes: 2 }],
  [2, { name: "q4_0", block: 32, bytes: 18 }],
  [3, { name: "q4_1", block: 32, bytes: 20 }],
  [6, { name: "q5_0", block: 32, bytes: 22 }],
  [7, { name: "q5_1", block: 32, bytes: 24 }],
  [8, { name: "q8_0", block: 32, bytes: 34 }],
  [9, { name: "q8_1", block: 32, bytes: 36 }],
  [10, { name: "q2_K", block: 256, bytes: 84 }],
  [11, { name: "q3_K", block: 256, bytes: 110 }],
  [12, { name: "q4_K", block: 256, bytes: 144 }],
  [13, { name: "q5_K", block: 256, bytes: 176 }],
  [14, { name: "q6_K", block: 256, bytes: 210 }],
  [15, { name: "q8_K", block: 256, bytes: 292 }],
  [16, { name: "iq2_xxs", block: 256, bytes: 66 }],
  [17, { name: "iq2_xs", block: 256, bytes: 74 }],
  [18, { name: "iq3_xxs", block: 256, bytes: 98 }],
  [19, { name: "iq1_s", block: 256, bytes: 50 }],
  [20, { name: "iq4_nl", block: 32, bytes: 18 }],
  [21, { name: "iq3_s", block: 256, bytes: 110 }],
  [22, { name: "iq2_s", block: 256, bytes: 82 }],
  [23, { name: "iq4_xs", block: 256, bytes: 136 }],
  [24, { name: "i8", block: 1, bytes: 1 }],
  [25, { name: "i16", block: 1, bytes: 2 }],
  [26, { name: "i32", block: 1, bytes: 4 }],
  [27, { name: "i64", block: 1, bytes: 8 }],
  [28, { name: "f64", block: 1, bytes: 8 }],
  [29, { name: "iq1_m", block: 256, bytes: 56 }],
  [30, { name: "bf16", block: 1, bytes: 2 }],
  [34, { name: "tq1_0", block: 256, bytes: 54 }],
  [35, { name: "tq2_0", block: 256, bytes: 66 }],
  [39, { name: "mxfp4", block: 32, bytes: 17 }],
  [40, { name: "nvfp4", block: 64, bytes: 36 }],
  [41, { name: "q1_0", block: 128, bytes: 18 }],
  [42, { name: "q2_0", block: 64, bytes: 18 }],
]);

/** ggml's name of a type that the reader has accepted. */
export function type_name(type: number): string {
  const found = tensorTypes.get(type);
  if (!found) throw new RangeError(`Cannot name tensor type ${type}: no such type`);
  return found.name;
}
