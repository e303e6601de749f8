/** A stream that is cut at any byte: what was read and what is resumed are the whole, each once. */
import { describe, expect, it } from "bun:test";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { SseParser } from "../../src/stream/sse.ts";
import { MockGenerator, saying } from "../support/mock_generator.ts";
import { get, post } from "../support/requests.ts";

const BYTES = 64 * 1024;
const TEXTS = Array.from({ length: 600 }, (_, i) => ["é", "\n", "", "😀 ", ` word${i}`][i % 5]!);
const CHAT = { messages: [{ role: "user", content: "Hi" }], stream: true };
const KEY = { "idempotency-key": "k" };

const bytesOf = async (response: Response): Promise<Uint8Array> =>
  new Uint8Array(await response.arrayBuffer());

/** Data of all messages, one a line. */
function dataOf(bytes: Uint8Array): string[] {
  return new SseParser().push(bytes).flatMap(({ data }) => data ?? []);
}

/** What a client gets that comes back with this id; without one it asks anew with its key. */
async function resume(
  handler: Handler,
  route: string,
  body: object,
  id: string,
): Promise<string[]> {
  const request = id === ""
    ? post(route, body, KEY)
    : get(`/v1/streams/${id.split(":")[0]}`, { "last-event-id": id });
  const response = await handler(request);
  return response.status === 204 ? [] : dataOf(await bytesOf(response));
}

describe("a stream that a proxy cuts", () => {
  const routes: [string, object][] = [
    ["/v1/stream", { prompt: "Hi" }],
    ["/v1/chat/completions", CHAT],
  ];
  for (const [route, body] of routes) {
    it(`is whole after any cut of ${route}: ${BYTES} cuts`, async () => {
      const mock = new MockGenerator(saying(...TEXTS));
      const handler = createHandler(mock);
      const whole = await bytesOf(await handler(post(route, body, KEY)));
      expect(whole.length).toBeGreaterThan(BYTES);
      const expected = dataOf(whole).join("\n");
      const parser = new SseParser();
      const seen: string[] = [];
      const rests = new Map<string, string[]>();
      let wrong = 0;
      for (let cut = 0; cut <= whole.length; cut++) {
        // The parser stands where a client stands that has read so many bytes.
        if (cut > 0) {
          const messages = parser.push(whole.subarray(cut - 1, cut));
          seen.push(...messages.flatMap(({ data }) => data ?? []));
        }
        const id = parser.lastEventId;
        let rest = rests.get(id);
        if (rest === undefined) {
          rest = await resume(handler, route, body, id);
          rests.set(id, rest);
        }
        if ([...seen, ...rest].join("\n") !== expected) wrong++;
      }
      expect(wrong).toBe(0);
      expect(rests.size).toBeGreaterThan(200);
      expect(mock.requests.length).toBe(1);
    }, 120_000);
  }
});
