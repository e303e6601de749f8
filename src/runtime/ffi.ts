/**
 * The runtime seam: one symbol table and one typed `open` for every runtime.
 *
 * Pointers are opaque; no text and no struct is read from native memory here.
 *
 * @module
 */

/** C types that may cross the seam. Sizes cross as `i32` or `f64` where they fit, else as `i64`. */
export type CType = "void" | "bool" | "i32" | "u32" | "i64" | "f32" | "f64" | "pointer" | "buffer";

declare const pointerBrand: unique symbol;
/** A native address, or null. It has no arithmetic and keeps nothing alive. */
export type Pointer = { readonly [pointerBrand]: true } | null;

/** One C function. */
export interface Signature {
  readonly args: readonly CType[];
  readonly returns: CType;
}

/** A library's functions by name. */
export type SymbolTable = Readonly<Record<string, Signature>>;

interface JsTypes {
  void: void;
  bool: boolean;
  i32: number;
  u32: number;
  i64: bigint;
  f32: number;
  f64: number;
  pointer: Pointer;
  /** A typed array or DataView; native code may use its memory during the call only. */
  buffer: ArrayBufferView;
}

type Arguments<A extends readonly CType[]> = { [I in keyof A]: JsTypes[A[I]] };

/** A symbol table as callable functions; a wrong arity or type does not compile. */
export type Functions<T extends SymbolTable> = {
  readonly [K in keyof T]: (...args: Arguments<T[K]["args"]>) => JsTypes[T[K]["returns"]];
};

/** An open library. */
export interface OpenLibrary<T extends SymbolTable> {
  readonly symbols: Functions<T>;
  close(): void;
}

/** What a runtime provides. */
export interface Ffi {
  /** Name of the runtime, for messages. */
  readonly runtime: "bun" | "deno";
  /** Opens the library at `path`. Throws the runtime's own error when it or a symbol is missing. */
  open<const T extends SymbolTable>(path: string, symbols: T): OpenLibrary<T>;
}
