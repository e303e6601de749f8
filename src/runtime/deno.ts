/**
 * The seam on Deno. Loaded by `mod.ts` only when the program runs there.
 *
 * @module
 */
import type { Ffi, Functions, OpenLibrary, SymbolTable } from "./ffi.ts";

/** Deno's own FFI behind the seam. */
export const ffi: Ffi = {
  runtime: "deno",
  open<const T extends SymbolTable>(path: string, symbols: T): OpenLibrary<T> {
    const table: Record<string, Deno.ForeignFunction> = {};
    for (const [symbol, { args, returns }] of Object.entries(symbols)) {
      table[symbol] = {
        parameters: args as readonly Deno.NativeType[],
        result: returns as Deno.NativeResultType,
      };
    }
    const library = Deno.dlopen(path, table);
    return {
      symbols: library.symbols as unknown as Functions<T>,
      close: () => library.close(),
    };
  },
};
