/**
 * Shapes of values, and what ops demand of them.
 *
 * @module
 */
import { ShapeError } from "../errors.ts";

/** Element type by its ggml name: `f32`, `f16`, `i32`, `q4_1` ... */
export type DType = string;

/** Four sizes, unused ones are 1. */
export type Ne = readonly [number, number, number, number];

/** What has a type and a shape. */
export interface Shaped {
  readonly type: DType;
  readonly ne: Ne;
}

/** `f32 [64, 9, 1, 1]`, for messages. */
export function show({ type, ne }: Shaped): string {
  return `${type} [${ne.join(", ")}]`;
}

/** @throws {ShapeError} always, with the reason why `op` cannot be recorded */
export function fail(op: string, reason: string): never {
  throw new ShapeError(`Cannot record ${op}: ${reason}`);
}

/** Demands an operand of f32. */
export function f32(op: string, t: Shaped): void {
  if (t.type !== "f32") fail(op, `an operand is ${show(t)}, expected f32`);
}

/** Up to four sizes as four. */
export function full(ne: readonly number[]): Ne {
  for (const n of ne) {
    if (!Number.isSafeInteger(n) || n < 1) {
      fail("shape", `[${ne.join(", ")}] holds ${n}, expected 1 or more`);
    }
  }
  return [ne[0] ?? 1, ne[1] ?? 1, ne[2] ?? 1, ne[3] ?? 1];
}

/** How many values there are. */
export function count(ne: Ne): number {
  return ne[0] * ne[1] * ne[2] * ne[3];
}

/** Whether there is but one row. */
export function isVector({ ne }: Shaped): boolean {
  return ne[1] === 1 && ne[2] === 1 && ne[3] === 1;
}

/** Whether all four sizes are the same. */
export function sameShape(a: Shaped, b: Shaped): boolean {
  return a.ne.every((n, i) => n === b.ne[i]);
}
