/**
 * The seam on Bun. Loaded by `mod.ts` only when the program runs there.
 *
 * @module
 */
import { dlopen, type FFIFunction } from "bun:ffi";
import type { CType, Ffi, Functions, OpenLibrary, SymbolTable } from "./ffi.ts";

const name = (type: CType): string => (type === "pointer" ? "ptr" : type);

/** Bun's own FFI behind the seam. */
export const ffi: Ffi = {
  runtime: "bun",
  open<const T extends SymbolTable>(path: string, symbols: T): OpenLibrary<T> {
    const table: Record<string, FFIFunction> = {};
    for (const [symbol, { args, returns }] of Object.entries(symbols)) {
      table[symbol] = { args: args.map(name), returns: name(returns) } as FFIFunction;
    }
    const library = dlopen(path, table);
    return {
      symbols: library.symbols as unknown as Functions<T>,
      close: () => library.close(),
    };
  },
};
