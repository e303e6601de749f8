/**
 * PackedFile: weights as they lie in memory, kept in a file, so that the next start maps what this
 * one packed.
 *
 * The file begins with a text of all that its bytes depend on; then come the weights, each from a
 * page on, and a hash of samples of them. It is used where it is exactly what this process would
 * write: nothing of it is parsed or trusted. It never changes: another text has another name, and a
 * file gets its name once it is whole and on the disk.
 *
 * The model file counts as the same while its size, its inode and its times are. A program can set
 * the time of the last change of contents, not that of the inode, so a copy, another download and
 * an edit in place are packed anew. A hash of all contents would take as long as packing them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import { LibraryError } from "../errors.ts";
import type { Library } from "./library.ts";

/** Bytes of a file. */
export interface FileRange {
  readonly offset: number;
  readonly size: number;
}

/** A weight that can be kept. */
export interface KeptWeight {
  /** Names that it is joined from, and how it is read. */
  readonly key: string;
  readonly use: string;
  readonly type: string;
  readonly ne: readonly number[];
  /** Where its rows lie in the model file. */
  readonly ranges: readonly FileRange[];
}

/** Gives the bytes of a weight to `put`, piece by piece. */
export type PackWeight<W> = (weight: W, put: (bytes: Uint8Array) => void) => void;

const TITLE = "sluice packed weights 1";
const PAGE = 4096;
const SAMPLES = 8;
const HASH_BYTES = 32;
const NAME_END = /^[0-9a-f]{16}\.packed$/;
/** Most milliseconds between two ticks of the clock that file systems take times from. */
const TICK_MS = 20;

/** The file of some weights of a model; see the module. */
export class PackedFile<W extends KeptWeight> {
  readonly path: string;
  readonly size: number;
  /** First byte of the weights. */
  readonly dataOffset: number;
  /** Where each weight lies. */
  readonly places: ReadonlyMap<W, FileRange>;
  readonly #library: Library;
  readonly #folder: string;
  readonly #model: string;
  readonly #stamp: string;
  readonly #text: Uint8Array;
  /** What the names of all files of this model begin with. */
  readonly #name: string;

  /**
   * Names the file and reads nothing of it. The model file must be mapped after this, so that what
   * is packed is what the name says, or `write` finds that it changed.
   *
   * @param folder where packed files lie; it may not exist yet
   * @param model path of the model file
   */
  constructor(library: Library, folder: string, model: string, weights: readonly W[]) {
    this.#library = library;
    this.#folder = folder;
    this.#model = realpathSync(model);
    this.#stamp = stampOf(this.#model);
    const { sluice_layout_version } = library.native;
    const lines = [TITLE, `layout ${sluice_layout_version()}`, this.#stamp, ...weights.map(lineOf)];
    this.#text = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
    this.dataOffset = nextPage(this.#text.length);
    const places = new Map<W, FileRange>();
    let end = this.dataOffset;
    for (const weight of weights) {
      const size = weight.ranges.reduce((sum, range) => sum + range.size, 0);
      places.set(weight, { offset: end, size });
      end = nextPage(end + size);
    }
    this.places = places;
    this.size = end + HASH_BYTES;
    this.#name = `${basename(model).replace(/\.gguf$/i, "")}-${hashOf(this.#model).slice(0, 8)}-`;
    this.path = join(folder, `${this.#name}${hashOf(this.#text).slice(0, 16)}.packed`);
  }

  /** Whether the file is there, and as it was written. */
  look(): "whole" | "missing" | "damaged" {
    if (!existsSync(this.path)) return "missing";
    const file = openSync(this.path, "r");
    try {
      const isWhole = fstatSync(file).size === this.size &&
        read(file, 0, this.#text.length).equals(this.#text) &&
        read(file, this.size - HASH_BYTES, HASH_BYTES).equals(this.#sample(file));
      return isWhole ? "whole" : "damaged";
    } finally {
      closeSync(file);
    }
  }

  /**
   * Writes the file, unless another process has done so meanwhile, and deletes those that this
   * model had before.
   *
   * @throws {LibraryError} when another process is writing, or the model file was changed
   */
  write(pack: PackWeight<W>): void {
    mkdirSync(this.#folder, { recursive: true });
    using _ = this.#lock();
    if (this.look() === "whole") return;
    const part = join(this.#folder, `${this.#name}part`);
    const file = openSync(part, "w+");
    try {
      writeAll(file, this.#text, 0);
      for (const [weight, { offset }] of this.places) {
        let at = offset;
        pack(weight, (bytes) => at = writeAll(file, bytes, at));
      }
      writeAll(file, this.#sample(file), this.size - HASH_BYTES);
      fsyncSync(file);
      if (stampOf(this.#model) !== this.#stamp) {
        throw new LibraryError("Cannot keep packed weights: the model file was changed meanwhile");
      }
      renameSync(part, this.path);
    } catch (error) {
      rmSync(part, { force: true });
      throw error;
    } finally {
      closeSync(file);
    }
    for (const name of readdirSync(this.#folder)) {
      const isOurs = name.startsWith(this.#name) && NAME_END.test(name.slice(this.#name.length));
      if (isOurs && name !== basename(this.path)) rmSync(join(this.#folder, name));
    }
  }

  #lock(): Disposable {
    const { native } = this.#library;
    const path = new TextEncoder().encode(join(this.#folder, `${this.#name}lock\0`));
    const lock = this.#library.handle(native.sluice_lock_take(path), "write packed weights");
    return { [Symbol.dispose]: () => void native.sluice_lock_release(lock) };
  }

  /** Hash of some pages of each weight, the first and the last among them. */
  #sample(file: number): Uint8Array {
    const hash = createHash("sha256");
    for (const { offset, size } of this.places.values()) {
      for (let i = 0; i < SAMPLES; i++) {
        const at = Math.floor(Math.max(0, size - PAGE) * i / (SAMPLES - 1));
        hash.update(read(file, offset + at, Math.min(PAGE, size)));
      }
    }
    return hash.digest();
  }
}

function lineOf({ key, use, type, ne, ranges }: KeptWeight): string {
  const pieces = ranges.map(({ offset, size }) => `${offset}+${size}`);
  return `${JSON.stringify(key)} ${use} ${type} ${ne.join("x")} ${pieces.join(" ")}`;
}

/** What tells a file from every other one at its path; see the module. */
function stampOf(path: string): string {
  const { size, ino, mtimeMs, ctimeMs } = statSync(path, { bigint: true });
  // Deno knows the time of an inode in whole seconds.
  const changedS = ctimeMs / 1000n;
  // Two changes in one second have one time: whoever reads the file now must see the last of them.
  const restMs = 1000 * (Number(changedS) + 1) + TICK_MS - Date.now();
  if (restMs > 0 && restMs <= 1000 + TICK_MS) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, restMs);
  }
  return `model ${size} bytes, inode ${ino}, changed ${mtimeMs} ${changedS}`;
}

function hashOf(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function nextPage(offset: number): number {
  return Math.ceil(offset / PAGE) * PAGE;
}

/** What is there of some bytes of a file. */
function read(file: number, offset: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  let done = 0;
  while (done < size) {
    const count = readSync(file, bytes, done, size - done, offset + done);
    if (count === 0) break;
    done += count;
  }
  return bytes.subarray(0, done);
}

/** @returns the offset behind the bytes */
function writeAll(file: number, bytes: Uint8Array, offset: number): number {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(file, bytes, done, bytes.length - done, offset + done);
  }
  return offset + done;
}
