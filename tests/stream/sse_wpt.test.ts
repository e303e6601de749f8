/** The format cases of the web platform tests for EventSource, with what a browser must deliver. */
import { describe, expect, it } from "bun:test";
import { SseParser } from "../../src/stream/sse.ts";

/** What the listener of an EventSource sees. */
interface Delivered {
  type: string;
  data: string;
  lastEventId: string;
}

/** The messages that a browser would deliver; every byte comes in a piece of its own. */
function deliver(text: string): { delivered: Delivered[]; retryMs: number | undefined } {
  const parser = new SseParser();
  const delivered = [...new TextEncoder().encode(text)].flatMap((byte) =>
    parser.push(Uint8Array.of(byte)).flatMap(({ event, data }): Delivered[] =>
      data === undefined
        ? []
        : [{ type: event || "message", data, lastEventId: parser.lastEventId }]
    )
  );
  return { delivered, retryMs: parser.retryMs };
}

const long = "x".repeat(2048);

describe("SseParser on the web platform's cases", () => {
  const cases: [string, string, string[]][] = [
    ["format-bom", "\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n", ["1", "3"]],
    ["format-bom-2", "\ufeff\ufeffdata:1\n\ndata:2\n\ndata:3\n\n", ["2", "3"]],
    [
      "format-comments",
      `data:1\r:\0\n:\r\ndata:2\n:${long}\rdata:3\n:data:fail\r:${long}\ndata:4\n\n`,
      ["1\n2\n3\n4"],
    ],
    [
      "format-data-before-final-empty-line",
      "retry:1000\ndata:test1\n\nid:test\ndata:test2",
      ["test1"],
    ],
    ["format-field-data", "data:\n\ndata\ndata\n\ndata:test\n\n", ["", "\n", "test"]],
    [
      "format-field-parsing",
      "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n" +
      " data:32\ndata:4\n\n",
      ["\0\n 2\n1\n3\n\n4"],
    ],
    [
      "format-field-unknown",
      "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
      ["test\n\ntest"],
    ],
    ["format-leading-space", "data:\ttest\rdata: \ndata:test\n\n", ["\ttest\n\ntest"]],
    ["format-newlines", "data:test\r\ndata\ndata:test\r\n\r", ["test\n\ntest"]],
    ["format-null-character", "data:\0\n\n\n\n", ["\0"]],
    ["format-utf-8", "data:ok…\n\n", ["ok…"]],
    [
      "event-data",
      "data:msg\ndata:msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
      ["msg\nmsg", "", "end"],
    ],
  ];
  it.each(cases)("passes %s", (_, text, data) => {
    expect(deliver(text).delivered.map((each) => each.data)).toEqual(data);
  });

  it.each<[string, string, string[]]>([
    ["format-field-event", "event:test\ndata:x\n\ndata:x\n\n", ["test", "message"]],
    ["format-field-event-empty", "event: \ndata:data\n\n", ["message"]],
  ])("passes %s", (_, text, types) => {
    expect(deliver(text).delivered.map(({ type }) => type)).toEqual(types);
  });

  it.each<[string, string, string[]]>([
    ["format-field-id: the id is delivered with its block", "id: 1\ndata:x\n\n", ["1"]],
    ["format-field-id-2: ids of other characters", "id:…\ndata:1\n\nid\ndata:2\n\n", ["…", ""]],
    [
      "format-field-id-3: an id persists, changes and is reset",
      "id: 1\ndata:1\n\ndata:2\n\nid: 2\ndata:3\n\nid:\ndata:4\n\ndata:5\n\n",
      ["1", "1", "2", "", ""],
    ],
    [
      "format-field-id-3: a block without data moves the id",
      "id: 1\n\ndata:1\n\nid: 2\nevent: x\n\ndata:2\n\n",
      ["1", "2"],
    ],
    [
      "format-data-before-final-empty-line: a torn block moves no id",
      "data:1\n\nid:test\ndata:2\n",
      [""],
    ],
  ])("passes %s", (_, text, ids) => {
    expect(deliver(text).delivered.map(({ lastEventId }) => lastEventId)).toEqual(ids);
  });

  it.each(["\0\0", "x\0", "\0x", "x\0x", " \0"])("passes format-field-id-null with %j", (id) => {
    const { delivered } = deliver(`id:1\ndata:a\n\nid:${id}\ndata:b\n\n`);
    expect(delivered.map(({ lastEventId }) => lastEventId)).toEqual(["1", "1"]);
  });

  it.each<[string, string, number | undefined]>([
    ["format-field-retry", "retry:3000\ndata:x\n\n", 3000],
    ["format-field-retry-bogus", "retry:3000\nretry:1000x\ndata:x\n\n", 3000],
    ["format-field-retry-empty", "retry\ndata:test\n\n", undefined],
  ])("passes %s", (_, text, ms) => {
    const { delivered, retryMs } = deliver(text);
    expect(delivered.length).toBe(1);
    expect(retryMs).toBe(ms);
  });
});
