/**
 * snapshotOf: what a stream has said so far as two entries, for a reader that joins late.
 *
 * @module
 */
import type { SnapshotEvent } from "./event.ts";
import type { Entry } from "./reader.ts";
import type { Stream } from "./stream.ts";

/**
 * The start event, and one snapshot in the place of the last token; without it where there is none
 * yet.
 *
 * @throws RequestError `stream_evicted` (410) where the beginning is kept nowhere any more
 */
export async function snapshotOf(stream: Stream): Promise<Entry[]> {
  const snapshot: SnapshotEvent = { type: "snapshot", ids: [], text: "", reasoning: "", timeMs: 0 };
  const entries: Entry[] = [];
  let last = 0;
  for (let seq = 0, end = stream.end; seq < end;) {
    for (const event of await stream.read(seq)) {
      if (event.type === "start") entries.push({ seq, event });
      if (event.type === "token") {
        snapshot.ids.push(...event.ids);
        if (event.channel === "reasoning") snapshot.reasoning += event.text;
        else snapshot.text += event.text;
        snapshot.timeMs = event.timeMs;
        last = seq;
      }
      seq++;
    }
  }
  if (last > 0) entries.push({ seq: last, event: snapshot });
  return entries;
}
