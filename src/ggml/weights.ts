/**
 * Weights: every weight that a lowered graph reads, in native memory, each in the layout that its
 * readers profit from.
 *
 * A weight stays in the mapped file where that is possible. It is copied where several are joined
 * into one, or where products are faster with another layout: our panels, else one of ggml's (AMX,
 * interleaved rows). What is joined or in panels may be kept in a file, see `PackedFile`.
 *
 * @module
 */
import { LibraryError } from "../errors.ts";
import type { Lowered, Packs } from "../graph/lower.ts";
import type { DType, Ne, Op } from "../graph/record.ts";
import type { Pointer } from "../runtime/ffi.ts";
import type { Library } from "./library.ts";
import { type FileRange, PackedFile } from "./packed_file.ts";
import { type_id } from "./tensor.ts";

/** Where weights lie in a file. */
export interface WeightFile {
  /** Path of the file. */
  readonly file: string;
  /** Bytes of the file. */
  readonly fileSize: number;
  /** First byte of the tensor data. */
  readonly dataOffset: number;
  /** Places by name, in bytes from the start of the file. */
  readonly tensors: ReadonlyMap<string, FileRange>;
}

/** How weights are loaded. */
export interface LoadOptions {
  /** Use layouts of the CPU's own. Default true. */
  repack?: boolean;
  /** Folder that keeps packed weights for the next start. Default none is kept. */
  packedDir?: string;
  onProgress?: LoadProgress;
}

/**
 * How a weight is read: as first operand of products, for which any of ggml's layouts will do, of
 * products with panels, or by its rows.
 */
export type WeightUse = "product" | "packed" | "rows";

/** One weight as the graph reads it. */
interface Wanted {
  key: string;
  use: WeightUse;
  type: DType;
  ne: Ne;
  ranges: FileRange[];
}

/** Bytes that are read or written at once. */
const CHUNK_BYTES = 2 ** 24;

/** Told after each weight, with the bytes done and the bytes in all. */
export type LoadProgress = (loadedBytes: number, totalBytes: number) => void;

/** Where weights go: the mapping, memory in a layout of our own, or buffers of a type. */
interface Homes {
  mapped: Wanted[];
  own: Wanted[];
  copied: Map<Pointer, Wanted[]>;
}

/** Which weights are kept in panels, where layouts of the CPU's own are used. */
export function packsOf({ native }: Library, { repack = true }: LoadOptions): Packs {
  return (type, n_in, n_out) => repack && native.sluice_packs(type_id(type), n_in, n_out) === 1;
}

/** The weights of one model file. */
export class Weights implements Disposable {
  readonly #library: Library;
  readonly #tensors: Readonly<Record<WeightUse, Map<string, Pointer>>> = {
    product: new Map(),
    packed: new Map(),
    rows: new Map(),
  };
  readonly #contexts: Pointer[] = [];
  readonly #buffers: Pointer[] = [];
  readonly #mappings: NonNullable<Pointer>[] = [];
  #mapping: Pointer = null;
  #copied = 0;
  #kept = 0;
  #keepingFault: string | undefined;

  private constructor(library: Library) {
    this.#library = library;
  }

  /**
   * Loads what `lowered` reads.
   *
   * @throws {LibraryError} when memory is short or the file changed since its header was read
   */
  static load(
    library: Library,
    file: WeightFile,
    lowered: Lowered,
    options: LoadOptions = {},
  ): Weights {
    const weights = new Weights(library);
    try {
      weights.#load(file, wantedBy(lowered, file), options);
    } catch (error) {
      weights[Symbol.dispose]();
      throw error;
    }
    return weights;
  }

  /** The weight joined from these parts, in a layout for that use if there are two. */
  get(parts: readonly string[], use: WeightUse): Pointer {
    const other = { rows: "product", product: "rows", packed: "packed" } as const;
    const tensor = this.#tensors[use].get(key(parts)) ?? this.#tensors[other[use]].get(key(parts));
    if (tensor === undefined) {
      throw new LibraryError(
        `Cannot use weight ${
          parts.join(" + ")
        }: it was not loaded, a plan differs from the graph that was loaded for`,
      );
    }
    return tensor;
  }

  /** Bytes that were copied out of the file into a layout of their own. */
  get copiedBytes(): number {
    return this.#copied;
  }

  /** Bytes of weights that are mapped from a packed file. */
  get keptBytes(): number {
    return this.#kept;
  }

  /** Why packed weights could not be kept, or what was wrong with those that were. */
  get keepingFault(): string | undefined {
    return this.#keepingFault;
  }

  #load(
    file: WeightFile,
    wanted: Wanted[],
    { repack = true, packedDir, onProgress }: LoadOptions,
  ): void {
    const { mapped, own, copied } = this.#choose(wanted, repack);
    const total = [mapped, own, ...copied.values()].flat().reduce((sum, w) => sum + bytes(w), 0);
    let loaded = 0;
    const done = new Set<Wanted>();
    const progress = (w: Wanted): void => {
      if (done.size < done.add(w).size) onProgress?.(loaded += bytes(w), total);
    };
    const kept = packedDir === undefined || own.length === 0
      ? undefined
      : this.#tryKeeping(() => new PackedFile(this.#library, packedDir, file.file, own));
    this.#mapping = this.#map(file.file, file.fileSize, "model file");
    if (mapped.length > 0) {
      const places = new Map(mapped.map((w) => [w, w.ranges[0]!]));
      this.#placeMapped(this.#mapping, file, places, progress);
    }
    for (const [type, list] of copied) this.#copy(type, list, progress);
    const isPlaced = kept && this.#tryKeeping(() => this.#placeKept(kept, progress));
    if (!isPlaced && own.length > 0) {
      this.#copy(this.#library.native.ggml_backend_cpu_buffer_type(), own, progress);
    }
  }

  #map(path: string, size: number, what: string): NonNullable<Pointer> {
    const { native } = this.#library;
    const mapping = this.#library.handle(
      native.sluice_mapping_open(new TextEncoder().encode(`${path}\0`), size),
      `map the ${what} "${path}"`,
    );
    this.#mappings.push(mapping);
    return mapping;
  }

  /**
   * What is done with packed files; where a file or a lock fails it is told and not thrown, since
   * weights can be packed at every start.
   */
  #tryKeeping<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof LibraryError) && !isFileFailure(error)) throw error;
      this.#keepingFault = error.message;
      return undefined;
    }
  }

  /** Maps weights from their packed file, which is made where it is missing or damaged. */
  #placeKept(kept: PackedFile<Wanted>, progress: (w: Wanted) => void): true {
    const found = kept.look();
    if (found === "damaged") {
      this.#keepingFault = `The packed file "${kept.path}" is damaged: it is written anew`;
    }
    if (found !== "whole") {
      kept.write((w, put) => {
        this.#packAlone(w, put);
        progress(w);
      });
    }
    const mapping = this.#map(kept.path, kept.size, "packed file");
    const { dataOffset, size, places } = kept;
    this.#placeMapped(mapping, { file: kept.path, dataOffset, fileSize: size }, places, progress);
    for (const w of places.keys()) this.#kept += bytes(w);
    return true;
  }

  /** Picks the home of each weight: the mapping, or a buffer type of the CPU. */
  #choose(wanted: Wanted[], repack: boolean): Homes {
    const { native } = this.#library;
    const extra: Pointer[] = [];
    while (repack) {
      const type = native.sluice_extra_buffer_type(extra.length);
      if (type === null) break;
      extra.push(type);
    }
    const mapped: Wanted[] = [];
    const own = wanted.filter(({ use }) => use === "packed");
    const copied = new Map<Pointer, Wanted[]>();
    const copy = (type: Pointer, w: Wanted): void => {
      const list = copied.get(type);
      if (list) list.push(w);
      else copied.set(type, [w]);
    };
    const byRows = new Set(wanted.filter((w) => w.use === "rows").map((w) => w.key));
    const probe = this.#context(wanted.length);
    for (const w of wanted) {
      if (w.use === "packed") continue;
      const tensor = this.#tensor(probe, w);
      const fast = w.use === "product"
        ? extra.find((type) => native.sluice_buffer_type_accepts(type, tensor) === 1)
        : undefined;
      if (fast !== undefined) copy(fast, w);
      // Without a layout of their own products read what is there for the rows.
      else if (w.use === "product" && byRows.has(w.key)) continue;
      else if (isOneRange(w)) mapped.push(w);
      else own.push(w);
    }
    native.ggml_free(this.#contexts.pop()!);
    return { mapped, own, copied };
  }

  /** Places weights in a mapped file. */
  #placeMapped(
    mapping: Pointer,
    { file, dataOffset, fileSize }: Omit<WeightFile, "tensors">,
    places: ReadonlyMap<Wanted, FileRange>,
    progress: (w: Wanted) => void,
  ): void {
    const library = this.#library;
    const { native } = library;
    const buffer = library.handle(
      native.sluice_mapping_buffer(mapping, dataOffset, fileSize - dataOffset),
      `use the mapped file "${file}"`,
    );
    this.#buffers.push(buffer);
    native.ggml_backend_buffer_set_usage(buffer, 1);
    const ctx = this.#context(places.size);
    for (const [w, { offset }] of places) {
      const tensor = this.#tensor(ctx, w);
      library.check(
        native.sluice_tensor_place(buffer, tensor, offset - dataOffset),
        `place weight ${w.key}`,
      );
      library.check(
        native.sluice_mapping_populate(mapping, offset, bytes(w)),
        `read weight ${w.key}`,
      );
      this.#tensors[w.use].set(w.key, tensor);
      progress(w);
    }
  }

  /** Copies weights into a buffer of `type`, which puts them into its layout. */
  #copy(type: Pointer, list: Wanted[], progress: (w: Wanted) => void): void {
    const { native } = this.#library;
    const ctx = this.#context(list.length);
    const tensors = list.map((w) => this.#tensor(ctx, w));
    const buffer = this.#allocate(ctx, type);
    this.#buffers.push(buffer);
    native.ggml_backend_buffer_set_usage(buffer, 1);
    list.forEach((w, i) => {
      const tensor = tensors[i]!;
      this.#fill(w, tensor);
      this.#tensors[w.use].set(w.key, tensor);
      this.#copied += bytes(w);
      progress(w);
    });
  }

  /** Packs a weight in memory of its own, gives its bytes to `put`, and frees the memory. */
  #packAlone(w: Wanted, put: (bytes: Uint8Array) => void): void {
    const { native } = this.#library;
    const ctx = this.#context(1);
    const tensor = this.#tensor(ctx, w);
    const buffer = this.#allocate(ctx, native.ggml_backend_cpu_buffer_type());
    try {
      this.#fill(w, tensor);
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES, bytes(w)));
      for (let at = 0; at < bytes(w); at += chunk.length) {
        const piece = chunk.subarray(0, bytes(w) - at);
        native.ggml_backend_tensor_get(tensor, piece, BigInt(at), BigInt(piece.length));
        put(piece);
      }
    } finally {
      native.ggml_backend_buffer_free(buffer);
      native.ggml_free(this.#contexts.pop()!);
    }
  }

  #allocate(ctx: Pointer, type: Pointer): NonNullable<Pointer> {
    const { native } = this.#library;
    const buffer = this.#library.handle(
      native.ggml_backend_alloc_ctx_tensors_from_buft(ctx, type),
      "allocate memory for weights, use a smaller model or free memory",
    );
    this.#library.check(native.sluice_buffer_use_large_pages(buffer), "use large pages");
    return buffer;
  }

  /** Reads a weight from the model file, into panels where it is read from them. */
  #fill(w: Wanted, tensor: Pointer): void {
    const library = this.#library;
    const { sluice_mapping_pack, sluice_mapping_read, sluice_mapping_discard } = library.native;
    const fill = w.use === "packed" ? sluice_mapping_pack : sluice_mapping_read;
    const ranges = Float64Array.from(w.ranges.flatMap((r) => [r.offset, r.size]));
    library.check(fill(this.#mapping, ranges, w.ranges.length, tensor), `read weight ${w.key}`);
    for (const { offset, size } of w.ranges) {
      library.check(
        sluice_mapping_discard(this.#mapping, offset, size),
        `release the file pages of weight ${w.key}`,
      );
    }
  }

  #context(n_tensors: number): NonNullable<Pointer> {
    const overhead = Number(this.#library.native.ggml_tensor_overhead());
    const ctx = this.#library.handle(
      this.#library.native.sluice_context_new(overhead * (n_tensors + 1)),
      "make a context for weights",
    );
    this.#contexts.push(ctx);
    return ctx;
  }

  #tensor(ctx: Pointer, { type, ne }: Wanted): Pointer {
    const [n0, n1, n2, n3] = ne;
    return this.#library.native.ggml_new_tensor_4d(
      ctx,
      type_id(type),
      BigInt(n0),
      BigInt(n1),
      BigInt(n2),
      BigInt(n3),
    );
  }

  [Symbol.dispose](): void {
    const { native } = this.#library;
    for (const buffer of this.#buffers.splice(0)) native.ggml_backend_buffer_free(buffer);
    for (const ctx of this.#contexts.splice(0)) native.ggml_free(ctx);
    for (const mapping of this.#mappings.splice(0)) native.sluice_mapping_close(mapping);
    this.#mapping = null;
    for (const tensors of Object.values(this.#tensors)) tensors.clear();
  }
}

/** How an op reads a weight that is its source number `i`. */
export function weightUse({ kind }: Op, i: number): WeightUse {
  if (i === 0 && kind === "mul_mat") return "product";
  if (kind === "moe_packed") return i === 2 || i === 3 ? "packed" : "rows";
  const reads_panels = kind === "mul_mat_packed" || kind === "get_rows_packed";
  return i === 0 && reads_panels ? "packed" : "rows";
}

/** A weight that is read both ways stands there twice. */
function wantedBy(lowered: Lowered, file: WeightFile): Wanted[] {
  const uses = new Map<number, Set<WeightUse>>();
  for (const node of lowered.nodes) {
    node.src.forEach((s, i) => {
      if (s.op.kind !== "weight") return;
      uses.set(s.id, (uses.get(s.id) ?? new Set()).add(weightUse(node.op, i)));
    });
  }
  return lowered.nodes.flatMap(({ id, op, type, ne }) => {
    if (op.kind !== "weight") return [];
    const ranges = pieces(op.parts.map((name) => file.tensors.get(name)!), ne[2]);
    return [...uses.get(id) ?? []].map((use) => ({ key: key(op.parts), use, type, ne, ranges }));
  });
}

/** Where the bytes of a joined weight lie, in order: part by part for each of `n` matrices. */
function pieces(parts: Wanted["ranges"], n: number): Wanted["ranges"] {
  const matrix = (i: number): Wanted["ranges"] =>
    parts.map(({ offset, size }) => ({ offset: offset + i * size / n, size: size / n }));
  return Array.from({ length: n }, (_, i) => matrix(i)).flat();
}

function key(parts: readonly string[]): string {
  return parts.join(" + ");
}

function bytes(w: Wanted): number {
  return w.ranges.reduce((sum, r) => sum + r.size, 0);
}

/** Whether the parts lie behind one another in the file. */
function isOneRange({ ranges }: Wanted): boolean {
  return ranges.every((r, i) =>
    i === 0 || r.offset === ranges[i - 1]!.offset + ranges[i - 1]!.size
  );
}

/** Whether the file system failed. */
function isFileFailure(thrown: unknown): thrown is Error {
  return thrown instanceof Error && "code" in thrown;
}
