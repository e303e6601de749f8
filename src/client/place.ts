/**
 * Place: where in a stream a message stands, by its id `<stream>:<seq>` or `<stream>:<seq>.<part>`.
 *
 * @module
 */

/** A message's place. */
export interface Place {
  /** Id of the stream. */
  readonly stream: string;
  /** Index of the event; 0 is the start, 1 the first token. */
  readonly seq: number;
  /** Index of the message where an event became several; the last of them stands for all. */
  readonly part: number;
}

/** Reads the id of a message; undefined where it is none of ours. */
export function placeOf(id: string): Place | undefined {
  const [, stream, seq, part] = /^(.+):([0-9]+)(?:\.([0-9]+))?$/.exec(id) ?? [];
  if (stream === undefined) return undefined;
  return { stream, seq: Number(seq), part: part === undefined ? Infinity : Number(part) };
}

/** Whether `place` comes after `other` in their stream. */
export function isAfter(place: Place, other: Place): boolean {
  return place.seq > other.seq || (place.seq === other.seq && place.part > other.part);
}
