/**
 * Finds and opens the native library, and turns its status codes into errors.
 *
 * @module
 */
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { DisposedError, LibraryError } from "../errors.ts";
import type { Functions, Pointer } from "../runtime/ffi.ts";
import { loadFfi } from "../runtime/mod.ts";
import { ABI_VERSION, symbols } from "./symbols.generated.ts";

/** The functions of ggml and sluice. */
export type Native = Functions<typeof symbols>;

/** Where the library may be; the defaults are right but for tests. */
export interface LibrarySearch {
  /** Value of `SLUICE_LIB`. */
  override?: string | undefined;
  /** Imports a package whose default export is the path of its library. */
  importPackage?: (name: string) => Promise<{ default: string }>;
  /** Path of the build that the set-up leaves in a checkout. */
  localBuild?: string | undefined;
}

/** Name of the npm package that carries the library for this machine. */
export function platformPackage(): string {
  return `@sluice/native-${process.platform}-${process.arch}`;
}

/**
 * Path of the library: `SLUICE_LIB`, else the platform package, else the local build.
 *
 * @throws {LibraryError} when none of them is there
 */
export async function findLibrary(search: LibrarySearch = {}): Promise<string> {
  const override = "override" in search ? search.override : process.env["SLUICE_LIB"];
  if (override) {
    if (existsSync(override)) return override;
    throw new LibraryError(
      `Cannot open the native library: SLUICE_LIB is "${override}" and no such file exists, correct or unset it`,
    );
  }
  const name = platformPackage();
  const importPackage = search.importPackage ?? ((name: string) => import(name));
  let missing: unknown;
  try {
    const path = (await importPackage(name)).default;
    if (existsSync(path)) return path;
    missing = new Error(`the package names ${path}, which does not exist`);
  } catch (error) {
    missing = error;
  }
  const localBuild = "localBuild" in search ? search.localBuild : defaultLocalBuild();
  if (localBuild !== undefined && existsSync(localBuild)) return localBuild;
  throw new LibraryError(
    `Cannot open the native library: neither SLUICE_LIB, nor the package ${name}, nor a local build is there, run the set-up first: bun run setup`,
    { cause: missing, hints: ["Run `bun run setup` or `deno task setup` in a checkout."] },
  );
}

function defaultLocalBuild(): string | undefined {
  const file = process.platform === "darwin" ? "libsluice.dylib" : "libsluice.so";
  const url = new URL(`../../zig-out/lib/${file}`, import.meta.url);
  return url.protocol === "file:" ? fileURLToPath(url) : undefined;
}

/** The open library. Its owner disposes it; using it afterwards throws DisposedError. */
export class Library implements Disposable {
  readonly path: string;
  #native: Native | undefined;

  /** Use `Library.open`. */
  constructor(path: string, native: Native) {
    this.path = path;
    this.#native = native;
  }

  /**
   * Opens the library and checks that it speaks this version's ABI.
   *
   * @throws {LibraryError} when it is missing or of another version
   */
  static async open(search?: LibrarySearch): Promise<Library> {
    const path = await findLibrary(search);
    const ffi = await loadFfi();
    let native: Native;
    try {
      native = ffi.open(path, symbols).symbols;
    } catch (cause) {
      throw new LibraryError(
        `Cannot open the native library "${path}": ${
          (cause as Error).message
        }, build it again: bun run setup`,
        { cause },
      );
    }
    const version = native.sluice_abi_version();
    if (version !== ABI_VERSION) {
      throw new LibraryError(
        `Cannot use the native library "${path}": its ABI is ${version}, expected ${ABI_VERSION}, build it again: bun run setup`,
      );
    }
    return new Library(path, native);
  }

  /** The functions. */
  get native(): Native {
    if (!this.#native) throw new DisposedError("the native library");
    return this.#native;
  }

  /** Throws LibraryError with the library's own sentence when `status` is negative. */
  check(status: number, action: string): number {
    if (status >= 0) return status;
    throw new LibraryError(`Cannot ${action}: ${this.#lastError() || `status ${status}`}`);
  }

  /** Throws LibraryError when `pointer` is null, else gives it back. */
  handle(pointer: Pointer, action: string): NonNullable<Pointer> {
    if (pointer !== null) return pointer;
    throw new LibraryError(`Cannot ${action}: ${this.#lastError() || "the library returned null"}`);
  }

  /** What the CPU path chose, such as `avx512_vnni`. */
  cpuVariant(): string {
    return this.#text((buffer) => this.native.sluice_cpu_variant(buffer, buffer.byteLength));
  }

  /**
   * Makes every thread of this process use our kernels of one level, such as `x86_64_v3`.
   *
   * @throws {LibraryError} where the processor cannot run them
   */
  useCpuVariant(name: string): void {
    if (this.native.sluice_use_cpu_variant(new TextEncoder().encode(`${name}\0`)) === 0) return;
    throw new LibraryError(this.#lastError());
  }

  #lastError(): string {
    return this.#text((buffer) => this.native.sluice_last_error(buffer, buffer.byteLength));
  }

  #text(read: (buffer: Uint8Array) => number): string {
    const buffer = new Uint8Array(512);
    const length = Math.min(read(buffer), buffer.byteLength);
    return new TextDecoder().decode(buffer.subarray(0, Math.max(0, length)));
  }

  /** Ends the pool's threads. The code stays mapped: a worker may still be returning from it. */
  [Symbol.dispose](): void {
    this.#native?.sluice_pool_shutdown();
    this.#native = undefined;
  }
}
