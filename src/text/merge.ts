/**
 * MergeList: merges neighbouring symbols pair by pair, the best pair first, the leftmost among
 * equals.
 *
 * The loop that byte-level BPE and SentencePiece share. A queue keeps it near linear: one word
 * of a megabyte takes about a second. Knows places only; what a symbol is belongs to the caller.
 *
 * @module
 */

/** The symbols of one list, known by their places from 0 up. */
export interface Pairing {
  /** How early two neighbours are merged: 0 is first, -1 is never. Below 2 ** 22. */
  rank(left: number, right: number): number;
  /** Makes one symbol of two, at the place of the left. */
  join(left: number, right: number): void;
}

/** Most places for which the arrays are kept for the next list. */
const KEPT = 4096;
/** Above every place; a key of the queue is `rank * PLACES + left`. */
const PLACES = 2 ** 31;

/** Merges lists one after the other. */
export class MergeList {
  #prev = new Int32Array(KEPT);
  #next = new Int32Array(KEPT);
  /** Rank of the pair that begins at a place; -1 where none does. */
  #ranks = new Int32Array(KEPT);
  #pairing: Pairing | undefined;
  readonly #queue: number[] = [];

  /** Merges the symbols at the places 0 to `count` - 1 until no pair has a rank. */
  merge(count: number, pairing: Pairing): void {
    this.#begin(count, pairing);
    for (let i = 0; i + 1 < count; i++) this.#consider(i);
    for (let key = this.#pop(); key !== undefined; key = this.#pop()) {
      const rank = Math.floor(key / PLACES);
      const left = key - rank * PLACES;
      // The pair was broken up, or was replaced by another.
      if (this.#ranks[left] !== rank) continue;
      const right = this.#next[left]!;
      pairing.join(left, right);
      const next = this.#next[right]!;
      this.#ranks[right] = -1;
      this.#next[left] = next;
      if (next >= 0) this.#prev[next] = left;
      this.#consider(left);
      if (this.#prev[left]! >= 0) this.#consider(this.#prev[left]!);
    }
  }

  /** The place that follows after the merge, -1 behind the last; place 0 is always there. */
  next(place: number): number {
    return this.#next[place]!;
  }

  #begin(count: number, pairing: Pairing): void {
    this.#pairing = pairing;
    if (count > this.#next.length || this.#next.length > KEPT) {
      const size = Math.max(count, KEPT);
      this.#prev = new Int32Array(size);
      this.#next = new Int32Array(size);
      this.#ranks = new Int32Array(size);
    }
    for (let i = 0; i < count; i++) {
      this.#prev[i] = i - 1;
      this.#next[i] = i + 1;
    }
    this.#next[count - 1] = -1;
  }

  #consider(left: number): void {
    const right = this.#next[left]!;
    const rank = right < 0 ? -1 : this.#pairing!.rank(left, right);
    this.#ranks[left] = rank;
    if (rank >= 0) this.#push(rank * PLACES + left);
  }

  #push(key: number): void {
    const queue = this.#queue;
    let at = queue.length;
    queue.push(key);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (queue[parent]! <= key) break;
      queue[at] = queue[parent]!;
      at = parent;
    }
    queue[at] = key;
  }

  #pop(): number | undefined {
    const queue = this.#queue;
    const first = queue[0];
    const last = queue.pop();
    if (last === undefined || queue.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= queue.length) break;
      if (child + 1 < queue.length && queue[child + 1]! < queue[child]!) child++;
      if (queue[child]! >= last) break;
      queue[at] = queue[child]!;
      at = child;
    }
    queue[at] = last;
    return first;
  }
}
