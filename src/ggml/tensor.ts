/**
 * Element types by name: ggml's number and the bytes of a value.
 *
 * @module
 */
import { ShapeError } from "../errors.ts";
import type { DType } from "../graph/record.ts";
import { GGML_TYPES } from "./symbols.generated.ts";

/** ggml writes the K of its K-quants large in names and small in nothing else. */
const TYPES: ReadonlyMap<string, { id: number; blockSize: number; typeSize: number }> = new Map(
  Object.entries(GGML_TYPES),
);

function entry(type: DType): { id: number; blockSize: number; typeSize: number } {
  const found = TYPES.get(type.toLowerCase());
  if (!found) throw new ShapeError(`Cannot use element type "${type}": ggml has none of that name`);
  return found;
}

/** ggml's number of a type. */
export function type_id(type: DType): number {
  return entry(type).id;
}

/** Bytes of a row of `n` values. Throws ShapeError where they are no whole blocks of the type. */
export function row_size(type: DType, n: number): number {
  const { blockSize, typeSize } = entry(type);
  if (n % blockSize === 0) return n / blockSize * typeSize;
  throw new ShapeError(
    `Cannot size ${n} values of "${type}": it is stored in blocks of ${blockSize}`,
  );
}
