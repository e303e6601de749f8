/** NDJSON lines: the writer's and the reader's rules, and that they are inverse. */
import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import { SluiceError } from "../../src/errors.ts";
import {
  encodeNdjson,
  encodeNdjsonBytes,
  type NdjsonMessage,
  NdjsonParser,
  parseNdjson,
} from "../../src/stream/ndjson.ts";
import type { SseMessage } from "../../src/stream/sse.ts";

const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

function read(...pieces: (string | Uint8Array)[]): NdjsonMessage[] {
  const parser = new NdjsonParser();
  const messages = pieces.flatMap((piece) =>
    parser.push(typeof piece === "string" ? encode(piece) : piece)
  );
  parser.end();
  return messages;
}

function failureOf(call: () => unknown): SluiceError {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof SluiceError) return thrown;
    throw thrown;
  }
  throw new TypeError("nothing was thrown");
}

describe("encodeNdjson()", () => {
  it.each<[string, SseMessage, string]>([
    ["puts JSON into the line as it is", { data: '{"a": 1.50}' }, '{"data":{"a": 1.50}}\n'],
    ["keeps whole numbers that no double holds", {
      data: "12345678901234567890",
    }, '{"data":12345678901234567890}\n'],
    ["writes what is no JSON as a string", { data: "[DONE]" }, '{"data":"[DONE]"}\n'],
    ["writes an empty text as a string", { data: "" }, '{"data":""}\n'],
    ["writes lines of text as one string", { data: "a\n\rb" }, '{"data":"a\\n\\rb"}\n'],
    ["puts JSON of several lines on one", { data: '{\r\n"a":\n1}' }, '{"data":{  "a": 1}}\n'],
    ["writes id, event, data in this order", {
      data: "null",
      event: "token",
      id: "s:1",
    }, '{"id":"s:1","event":"token","data":null}\n'],
    ["writes a cursor alone", { id: "s:0", retry: 3000, comment: "ok" }, '{"id":"s:0"}\n'],
    ["writes an event alone", { event: "end" }, '{"event":"end"}\n'],
    ["writes a ping as an empty line", { comment: "ping" }, "\n"],
    ["writes a retry time as an empty line", { retry: 3000 }, "\n"],
    ["escapes an id of any kind", { id: 'a"\n' }, '{"id":"a\\"\\n"}\n'],
  ])("%s", (_, message, line) => expect(encodeNdjson(message)).toBe(line));

  it("takes JSON that is nested too deep to be read as a string or as it is", () => {
    const data = "[".repeat(200_000) + "]".repeat(200_000);
    const line = encodeNdjson({ data });
    expect([`{"data":${data}}\n`, `{"data":"${data}"}\n`]).toContain(line);
  });

  it("is UTF-8 in encodeNdjsonBytes()", () => {
    expect(encodeNdjsonBytes({ data: '"é"' })).toEqual(encode('{"data":"é"}\n'));
  });
});

describe("NdjsonParser", () => {
  it.each<[string, string, NdjsonMessage[]]>([
    ["reads lines", '{"data":1}\n{"id":"2"}\n', [{ data: 1 }, { id: "2" }]],
    ["takes CRLF", '{"data":1}\r\n{"data":2}\r\n', [{ data: 1 }, { data: 2 }]],
    ["skips empty lines and white space", '\n\r\n \t\n{"data":null}\n\n', [{ data: null }]],
    ["drops a byte order mark", '\ufeff{"data":1}\n', [{ data: 1 }]],
    ["drops a torn line", '{"data":1}\n{"data":2}', [{ data: 1 }]],
    ["leaves out members that it does not know", '{"data":1,"more":2}\n', [{ data: 1 }]],
    ["gives an object without members", "{}\n", [{}]],
    ["gives nothing for an empty stream", "", []],
  ])("%s", (_, text, messages) => expect(read(text)).toEqual(messages));

  it.each<[string, string]>([
    ["nonsense\n", 'Cannot read line 1 of NDJSON: "nonsense" is not JSON'],
    ["\n\n[1]\n", "Cannot read line 3 of NDJSON: it is [1], expected an object"],
    ["null\n", "it is null, expected an object"],
    ['{"id":1}\n', '"id" is 1, expected a string'],
    ['{"event":null}\n', '"event" is null, expected a string'],
  ])("throws on %j", (text, message) => {
    const failure = failureOf(() => read(text));
    expect(failure.code).toBe("invalid_ndjson");
    expect(failure.message).toContain(message);
  });

  it("gives the messages before a bad line first, and stays broken", () => {
    const parser = new NdjsonParser();
    expect(parser.push(encode('{"data":1}\nbad\n{"data":2}\n'))).toEqual([{ data: 1 }]);
    expect(() => parser.end()).toThrow("line 2");
    expect(() => parser.push(encode("\n"))).toThrow("line 2");
  });

  it("throws on a line over the limit before it has come whole", () => {
    const line = '{"data":"abcdef"}';
    expect(new NdjsonParser(line.length).push(encode(`${line}\n`))).toEqual([{ data: "abcdef" }]);
    const parser = new NdjsonParser(line.length - 1);
    expect(parser.push(encode(line.slice(0, -1)))).toEqual([]);
    expect(() => parser.push(encode("}"))).toThrow("line 1 of NDJSON: it has over 16 characters");
  });

  it("reads the same at every cut", () => {
    const bytes = encode('\ufeff{"id":"s:1","data":{"token":" é😀"}}\r\n\n{"data":"[DONE]"}\n{"da');
    const whole = read(bytes);
    expect(whole).toEqual([{ id: "s:1", data: { token: " é😀" } }, { data: "[DONE]" }]);
    for (let at = 0; at <= bytes.length; at++) {
      expect(read(bytes.subarray(0, at), bytes.subarray(at))).toEqual(whole);
    }
    expect(read(...Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(whole);
  });
});

describe("parseNdjson()", () => {
  it("reads a body, and cancels it where the loop is left", async () => {
    let isCancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(encode('{"data":1}\n')),
      cancel: () => {
        isCancelled = true;
      },
    });
    for await (const message of parseNdjson(body)) {
      expect(message).toEqual({ data: 1 });
      break;
    }
    expect(isCancelled).toBe(true);
  });

  it("gives what comes before a bad line, then throws", async () => {
    const body = new Response('{"data":1}\n{"data":2}\nbad\n').body!;
    const found: NdjsonMessage[] = [];
    const reading = (async () => {
      for await (const message of parseNdjson(body)) found.push(message);
    })();
    await expect(reading).rejects.toThrow("line 3 of NDJSON");
    expect(found).toEqual([{ data: 1 }, { data: 2 }]);
  });
});

describe("NdjsonParser after encodeNdjson()", () => {
  const text = fc.string({ unit: "grapheme" });
  const message = fc.record({
    comment: text,
    event: text,
    data: fc.oneof(text, fc.json(), fc.json().map((json) => json.replaceAll(",", "\r\n,"))),
    id: text,
    retry: fc.nat(),
  }, { requiredKeys: [] }) as fc.Arbitrary<SseMessage>;

  /** What a reader gets of a message; undefined for a ping. */
  function readable({ id, event, data }: SseMessage): NdjsonMessage | undefined {
    const found: NdjsonMessage = {};
    if (id !== undefined) found.id = id;
    if (event !== undefined) found.event = event;
    if (data !== undefined) {
      try {
        found.data = JSON.parse(data);
      } catch {
        found.data = data;
      }
    }
    return Object.keys(found).length === 0 ? undefined : found;
  }

  it("gives back what was written, whatever the pieces", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), fc.nat(60), (messages, size) => {
        const bytes = encode(messages.map(encodeNdjson).join(""));
        const pieces = Array.from(
          { length: Math.ceil(bytes.length / (size + 1)) },
          (_, i) => bytes.subarray(i * (size + 1), (i + 1) * (size + 1)),
        );
        expect(read(...pieces)).toEqual(
          messages.map(readable).filter((each) => each !== undefined),
        );
      }),
      { numRuns: 2000 },
    );
  });
});
