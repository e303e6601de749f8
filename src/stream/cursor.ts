/**
 * Cursor: a place in a stream, as clients hold it: `<stream>:<seq>`, or `<seq>.<k>` inside an event
 * that became several messages.
 *
 * @module
 */
import { RequestError } from "../errors.ts";

/** What a reader has: all of the events before `seq`, and `part` messages of the event `seq`. */
export interface Cursor {
  /** Place of an event in its log; 0 is the start event, 1 the first token. */
  readonly seq: number;
  /** Messages of it that were delivered; absent where all were. */
  readonly part?: number;
}

/** The id of a message: the last of an event has no part, so that it stands for the whole event. */
export function messageId(stream: string, seq: number, part: number, parts: number): string {
  return part === parts ? `${stream}:${seq}` : `${stream}:${seq}.${part}`;
}

/** How many of the `parts` messages of the event `seq` somebody at a cursor has. */
export function partsDelivered(cursor: Cursor | undefined, seq: number, parts: number): number {
  if (cursor === undefined || seq > cursor.seq) return 0;
  return seq < cursor.seq ? parts : cursor.part ?? parts;
}

const CURSOR = /^(?:([0-9a-f]{32}):)?([0-9]{1,15})(?:\.([0-9]{1,4}))?$/;

/** The stream that a cursor names, or undefined where it names none of ours. */
export function streamOf(text: string): string | undefined {
  return CURSOR.exec(text)?.[1];
}

/**
 * Reads the cursor of a client; the name of the stream may be left out.
 *
 * @throws RequestError `malformed_cursor` (400) where it is none, or one of another stream
 */
export function parseCursor(text: string, stream: string): Cursor {
  const [, name = stream, seq, part] = CURSOR.exec(text) ?? [];
  if (seq === undefined || name !== stream) {
    throw new RequestError(
      `Cannot resume the stream: the cursor ${JSON.stringify(text.slice(0, 64))} is not one of ` +
        'its own, expected "<stream>:<seq>" as the id of its last message says',
      [],
      { code: "malformed_cursor" },
    );
  }
  return part === undefined ? { seq: Number(seq) } : { seq: Number(seq), part: Number(part) };
}
