/**
 * Tiles: how rows lie that a product with panels reads.
 *
 * @module
 */
import type { DType } from "./shape.ts";

/**
 * `i8` are quantized rows, for quantized weights; `i32` are floats, each in 32 bits. No other
 * values of a graph have these types and two dimensions.
 */
export type TileType = "i8" | "i32";

/** The tiles that products of a weight of this type read. */
export function tile_type(weight: DType): TileType {
  return ["f16", "bf16"].includes(weight) ? "i32" : "i8";
}

/** Elements of a row of `k` values, a multiple of 32: each block of quants has 24 bytes more. */
export function tile_len(k: number, type: TileType): number {
  return type === "i8" ? k * 7 / 4 : k;
}
