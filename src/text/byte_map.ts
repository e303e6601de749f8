/**
 * ByteMap: finds strings of a file by their bytes, without a JavaScript string for each.
 *
 * A hash table with open addressing over the file's own bytes: 49,000 tokens take a few
 * milliseconds and 1 MB.
 *
 * @module
 */
import type { StringArray } from "../gguf/metadata.ts";

const SPACE = 0x20;

/** Places in an array of strings, by text. Of equal strings the first counts. */
export class ByteMap {
  readonly #strings: StringArray;
  readonly #mask: number;
  /** Place + 1 by slot, 0 where the slot is free. */
  readonly #places: Int32Array;
  readonly #hashes: Int32Array;

  /** @param includes which strings can be found; all where it is not given */
  constructor(strings: StringArray, includes?: (place: number) => boolean) {
    const { length, source } = strings;
    const size = 2 ** Math.ceil(Math.log2(2 * length + 2));
    const places = new Int32Array(size);
    const hashes = new Int32Array(size);
    this.#strings = strings;
    this.#mask = size - 1;
    this.#places = places;
    this.#hashes = hashes;
    for (let place = 0; place < length; place++) {
      if (includes && !includes(place)) continue;
      const start = strings.start(place);
      const end = strings.end(place);
      const hash = hashOf(source, start, end, end);
      const slot = this.#find(source, start, end, end, hash);
      if (places[slot] !== 0) continue;
      places[slot] = place + 1;
      hashes[slot] = hash;
    }
  }

  /**
   * The place of the text `bytes[start ... end - 1]`, -1 for none.
   *
   * @param gap where the text has one more character, a space; default nowhere
   */
  get(bytes: Uint8Array, start: number, end: number, gap: number = end): number {
    return this.#places[this.#find(bytes, start, end, gap, hashOf(bytes, start, end, gap))]! - 1;
  }

  /** The slot of the text, or the free one where it belongs. */
  #find(bytes: Uint8Array, start: number, end: number, gap: number, hash: number): number {
    const places = this.#places;
    const hashes = this.#hashes;
    const mask = this.#mask;
    let slot = hash & mask;
    for (let place = places[slot]!; place !== 0; place = places[slot]!) {
      if (hashes[slot] === hash && this.#is(place - 1, bytes, start, end, gap)) break;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #is(place: number, bytes: Uint8Array, start: number, end: number, gap: number): boolean {
    const { source } = this.#strings;
    let at = this.#strings.start(place);
    if (this.#strings.end(place) - at !== end - start + (gap < end ? 1 : 0)) return false;
    for (let i = start; i < end; i++) {
      if (i === gap && source[at++] !== SPACE) return false;
      if (source[at++] !== bytes[i]) return false;
    }
    return true;
  }
}

/** FNV-1a, its bits mixed once more. */
function hashOf(bytes: Uint8Array, start: number, end: number, gap: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < end; i++) {
    if (i === gap) hash = Math.imul(hash ^ SPACE, 0x01000193);
    hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  }
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return hash ^ (hash >>> 13);
}
