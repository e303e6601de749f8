/** Twenty golden streams, each read in one piece, byte by byte, and cut at every position. */
import { describe, expect, it } from "bun:test";
import { type SseMessage, SseParser } from "../../src/stream/sse.ts";

/** Name, text of the stream, and what must be read. */
const golden: [string, string, SseMessage[]][] = [
  ["LF", "data: a\n\ndata: b\n\n", [{ data: "a" }, { data: "b" }]],
  ["CR", "data: a\r\rdata: b\r\r", [{ data: "a" }, { data: "b" }]],
  ["CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", [{ data: "a" }, { data: "b" }]],
  [
    "all line ends in one stream",
    "event: e\rdata: a\r\n\ndata: b\n\r\ndata: c\r\r\n\r\ndata: d\n\r",
    [{ event: "e", data: "a" }, { data: "b" }, { data: "c" }, { data: "d" }],
  ],
  ["a byte order mark", "\ufeffdata: a\n\n", [{ data: "a" }]],
  ["a byte order mark before CR", "\ufeff\r\rdata: \ufeff\r\r", [{ data: "\ufeff" }]],
  ["two-byte code points", "data: é ñ ü\n\ndata: Ж\n\n", [{ data: "é ñ ü" }, { data: "Ж" }]],
  ["three-byte code points", "id: 日本\r\ndata: 語…\r\n\r\n", [{ id: "日本", data: "語…" }]],
  ["four-byte code points", "data: 😀👩‍👩‍👧\n\nevent: 🎉\n\n", [{ data: "😀👩‍👩‍👧" }, { event: "🎉" }]],
  ["data of several lines", "data: a\ndata:\ndata: b\ndata\n\n", [{ data: "a\n\nb\n" }]],
  [
    "data of several lines, ended by CRLF",
    "data: {\r\ndata:   1\r\ndata: }\r\n\r\n",
    [{ data: "{\n  1\n}" }],
  ],
  [
    "ids that persist and are reset",
    "id: s:1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
    [{ id: "s:1", data: "a" }, { data: "b" }, { id: "", data: "c" }],
  ],
  [
    "ids without data, and one with NUL",
    "id: s:1\n\nid: a\0b\n\nid:s:2\ndata: a\n\n",
    [{ id: "s:1" }, { id: "s:2", data: "a" }],
  ],
  [
    "retry times",
    "retry: 3000\n\nretry:0\nretry: x\ndata: a\n\nretry: 1e3\n\n",
    [{ retry: 3000 }, { retry: 0, data: "a" }],
  ],
  [
    "comments",
    ": ok\n\n:\n:two\n: lines\n\ndata: a\n: inside\ndata: b\n\n",
    [{ comment: "ok" }, { comment: "\ntwo\nlines" }, { comment: "inside", data: "a\nb" }],
  ],
  [
    "fields that nobody knows",
    "foo: bar\n\n data: x\nData: y\ndata\ndata : z\n\n",
    [{ data: "" }],
  ],
  ["blank lines alone", "\n\r\n\r\r\n\n", []],
  ["a torn block", "data: a\r\n\r\nid: s:9\r\ndata: torn 😀\r\n", [{ data: "a" }]],
  [
    "the stream of a chat",
    'retry: 3000\n: ok\n\ndata: {"choices":[{"delta":{"content":"é\\n"}}]}\n\n: ping\n\n' +
    "data: [DONE]\n\n",
    [
      { retry: 3000, comment: "ok" },
      { data: '{"choices":[{"delta":{"content":"é\\n"}}]}' },
      { comment: "ping" },
      { data: "[DONE]" },
    ],
  ],
  [
    "the stream of tokens with ids",
    '\ufeffid: s:0\r\nretry: 3000\r\n\r\nid: s:1\r\nevent: token\r\ndata: {"token":" 😀"}\r\n\r\n' +
    'event: error\r\ndata: {"message":"日本"}\r\n\r\n',
    [
      { id: "s:0", retry: 3000 },
      { id: "s:1", event: "token", data: '{"token":" 😀"}' },
      { event: "error", data: '{"message":"日本"}' },
    ],
  ],
];

function read(pieces: readonly Uint8Array[]): { messages: SseMessage[]; lastEventId: string } {
  const parser = new SseParser();
  const messages = pieces.flatMap((piece) => parser.push(piece));
  return { messages, lastEventId: parser.lastEventId };
}

describe("SseParser on golden streams", () => {
  it("has twenty of them", () => expect(golden.length).toBe(20));

  it.each(golden)("reads %s the same at every cut", (_, text, messages) => {
    const bytes = new TextEncoder().encode(text);
    const whole = read([bytes]);
    expect(whole.messages).toEqual(messages);
    expect(read(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(whole);
    for (let at = 0; at <= bytes.length; at++) {
      expect(read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(whole);
    }
  });
});
