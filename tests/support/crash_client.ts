/**
 * A reader that does not give up: it connects again with its last id until its stream has ended.
 *
 * @module
 */
import { SseParser } from "../../src/stream/sse.ts";

/** What a reader has seen. */
export interface Seen {
  /** Data of each event, in order. */
  readonly events: string[];
  /** Ids of the messages, in order. */
  readonly ids: string[];
  /** Connections that brought something. */
  connections: number;
}

const RETRY_MS = 10;
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, RETRY_MS));

/**
 * Reads a stream to its end, over whatever happens to the server.
 *
 * @param urlOf where to connect next; a proxy with several replicas gives another each time
 * @param key idempotency key of the stream: all readers of one key read one stream
 */
export async function readOn(urlOf: () => string, key: string): Promise<Seen> {
  const seen: Seen = { events: [], ids: [], connections: 0 };
  let last: string | undefined;
  while (!seen.events.at(-1)?.includes("completed_normally")) {
    const parser = new SseParser();
    try {
      const response = await connect(urlOf(), key, last);
      if (response.status !== 200) {
        await response.body?.cancel();
        // Too early: the replica that has the stream is not known to be gone yet.
        if ([404, 409, 429, 500, 503].includes(response.status)) {
          await pause();
          continue;
        }
        throw new RangeError(`status ${response.status}`);
      }
      seen.connections++;
      for await (const bytes of response.body!) {
        for (const { id, data } of parser.push(bytes)) {
          if (id !== undefined) last = id;
          if (data === undefined || id === undefined) continue;
          seen.events.push(data);
          seen.ids.push(id);
        }
      }
    } catch (error) {
      if (error instanceof RangeError) throw error;
      // The connection was refused or cut; that is what this is about.
      await pause();
    }
  }
  return seen;
}

function connect(url: string, key: string, last: string | undefined): Promise<Response> {
  if (last !== undefined) {
    const id = last.split(":")[0];
    return fetch(`${url}/v1/streams/${id}`, { headers: { "last-event-id": last } });
  }
  return fetch(`${url}/v1/stream`, {
    method: "POST",
    headers: { "idempotency-key": key },
    body: JSON.stringify({ prompt: key, on_disconnect: "pause" }),
  });
}
