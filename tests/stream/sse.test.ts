/** SseMessage <-> bytes: the writer's and the reader's rules, and that they are inverse. */
import { describe, expect, it } from "bun:test";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import fc from "fast-check";
import {
  encodeSse,
  encodeSseBytes,
  parseSse,
  type SseMessage,
  SseParser,
  SseWriter,
} from "../../src/stream/sse.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

function read(...pieces: (string | Uint8Array)[]): SseMessage[] {
  const parser = new SseParser();
  return pieces.flatMap((piece) => parser.push(typeof piece === "string" ? encode(piece) : piece));
}

/** Every byte in a piece of its own. */
function readBytewise(bytes: Uint8Array): SseMessage[] {
  const parser = new SseParser();
  return [...bytes].flatMap((byte) => parser.push(Uint8Array.of(byte)));
}

describe("encodeSse()", () => {
  const cases: [string, SseMessage, string][] = [
    ["puts one space after the colon", { data: "x" }, "data: x\n\n"],
    ["keeps leading spaces of the data", { data: "  x" }, "data:   x\n\n"],
    ["writes an empty token", { data: "" }, "data: \n\n"],
    ["writes a token that is one space", { data: " " }, "data:  \n\n"],
    ["splits data on LF", { data: "a\nb" }, "data: a\ndata: b\n\n"],
    ["splits data on CR", { data: "a\rb" }, "data: a\ndata: b\n\n"],
    ["splits data on CRLF once", { data: "a\r\nb" }, "data: a\ndata: b\n\n"],
    ["keeps a last line that is empty", { data: "a\n" }, "data: a\ndata: \n\n"],
    ["does not split on U+2028", { data: "a\u2028b" }, "data: a\u2028b\n\n"],
    [
      "cannot be made to write a second event by its data",
      { data: "x\n\ndata: y" },
      "data: x\ndata: \ndata: data: y\n\n",
    ],
    ["writes the end of an OpenAI stream", { data: "[DONE]" }, "data: [DONE]\n\n"],
    ["writes a ping as a comment", { comment: "ping" }, ": ping\n\n"],
    ["splits a comment as it splits data", { comment: "a\rdata: b" }, ": a\n: data: b\n\n"],
    ["writes an error event", { event: "error", data: "{}" }, "event: error\ndata: {}\n\n"],
    ["writes retry 0", { retry: 0 }, "retry: 0\n\n"],
    ["writes an empty id", { id: "" }, "id: \n\n"],
    [
      "writes retry, id, comment, event, data in this order",
      { data: "d", event: "e", comment: "c", id: "s:0", retry: 3000 },
      "retry: 3000\nid: s:0\n: c\nevent: e\ndata: d\n\n",
    ],
    ["ends with a blank line also where it has no field", {}, "\n"],
  ];
  for (const [name, message, text] of cases) {
    it(name, () => expect(encodeSse(message)).toBe(text));
  }

  for (const field of ["id", "event"] as const) {
    for (const bad of ["a\nb", "a\rb", "\r\n", "a\0b"]) {
      it(`throws on ${field} ${JSON.stringify(bad)}`, () => {
        expect(() => encodeSse({ [field]: bad })).toThrow(`Cannot write the SSE field "${field}"`);
      });
    }
  }

  it.each([-1, 1.5, NaN, Infinity, 2 ** 53])("throws on retry %s", (retry) => {
    expect(() => encodeSse({ retry })).toThrow("expected whole milliseconds from 0");
  });

  it("writes a lone surrogate as U+FFFD", () => {
    const bytes = encodeSseBytes({ data: "a\ud800b" });
    expect(new TextDecoder().decode(bytes)).toBe("data: a\ufffdb\n\n");
  });

  it("ends a message with its only blank line, so that a ping never falls inside one", () => {
    const text = encodeSse({ id: "s:1", comment: "c\n\nc", event: "e", data: "\n\na\r\r\n" });
    expect(text.indexOf("\n\n")).toBe(text.length - 2);
    expect(read(encodeSse({ data: "a" }), encodeSse({ comment: "ping" }), text).length).toBe(3);
  });

  it("writes 64 KB in one piece", () => {
    expect(encodeSseBytes({ data: "x".repeat(65_536) }).byteLength).toBe(65_536 + 8);
  });
});

describe("SseWriter", () => {
  const messages: SseMessage[] = [
    { retry: 3000, comment: "ok" },
    { data: "" },
    { event: "token", data: '{"token":"日本語 é 😀"}', id: "s:1" },
    { data: "x".repeat(100_000) },
    { data: "😀".repeat(333) },
    { data: "a\ud800b" },
    { comment: "ping" },
  ];

  it("writes what encodeSseBytes() writes, and never touches it again", () => {
    const writer = new SseWriter();
    // Some hundred rounds, so that messages of all lengths meet the end of a block.
    const all = Array.from({ length: 300 }, (_, i) => [...messages, { data: "é".repeat(i) }])
      .flat();
    const written = all.map((message) => writer.write(message));
    for (const [i, bytes] of written.entries()) {
      expect(new TextDecoder().decode(bytes)).toBe(
        new TextDecoder().decode(encodeSseBytes(all[i]!)),
      );
    }
  });

  it("shares memory among the messages of one stream only", () => {
    const [a, b] = [new SseWriter(), new SseWriter()];
    const first = a.write({ data: "x" });
    expect(a.write({ data: "y" }).buffer).toBe(first.buffer);
    expect(b.write({ data: "z" }).buffer === first.buffer).toBe(false);
  });

  it("throws as encodeSse() does, and goes on", () => {
    const writer = new SseWriter();
    expect(() => writer.write({ id: "a\nb" })).toThrow('Cannot write the SSE field "id"');
    expect(writer.write({ data: "x" })).toEqual(encodeSseBytes({ data: "x" }));
  });
});

describe("SseParser", () => {
  const cases: [string, string, SseMessage[]][] = [
    ["ends lines with LF", "data:x\n\n", [{ data: "x" }]],
    ["ends lines with CR", "data:x\r\r", [{ data: "x" }]],
    ["ends lines with CRLF", "data:x\r\n\r\n", [{ data: "x" }]],
    ["takes all line ends in one stream", "data:a\rdata:b\r\ndata:c\n\n", [{ data: "a\nb\nc" }]],
    ["drops one byte order mark", "\ufeffdata:x\n\n", [{ data: "x" }]],
    [
      "drops no second byte order mark",
      "\ufeff\ufeffdata:x\n\ndata:y\n\n",
      [{ data: "y" }],
    ],
    ["takes a line without colon as an empty field", "data\n\n", [{ data: "" }]],
    ["joins two empty data lines by one LF", "data:\ndata:\n\n", [{ data: "\n" }]],
    ["keeps colons of the value", "data:a:b\n\n", [{ data: "a:b" }]],
    ["drops one leading space only", "data:  x\n\n", [{ data: " x" }]],
    ["keeps a tab", "data:\tx\n\n", [{ data: "\tx" }]],
    ["keeps NUL in data", "data:a\0b\n\n", [{ data: "a\0b" }]],
    ["takes the last of two events", "event:a\nevent:b\ndata:x\n\n", [{ event: "b", data: "x" }]],
    ["takes an empty event", "event\ndata:x\n\n", [{ event: "", data: "x" }]],
    ["ignores an id with NUL", "id:a\0b\ndata:x\n\n", [{ data: "x" }]],
    ["ignores unknown fields", "foo:bar\ndata:x\nData:y\n data:z\n\n", [{ data: "x" }]],
    ["gives nothing for unknown fields alone", "foo:bar\n\ndata:x\n\n", [{ data: "x" }]],
    ["gives comments", ": ping\n\n", [{ comment: "ping" }]],
    ["reads a stream of comments alone", ":\n\n:a\n: b\n\n", [
      { comment: "" },
      { comment: "a\nb" },
    ]],
    ["gives nothing for blank lines", "\n\n\r\n\r\r", []],
    ["gives nothing for an empty stream", "", []],
    ["drops a block that is torn", "data:x\n\ndata:y\n", [{ data: "x" }]],
    ["drops a line that is torn", "data:x\n\ndata:y", [{ data: "x" }]],
    ["takes retry 0", "retry:0\n\n", [{ retry: 0 }]],
    ["ignores retry 1e3", "retry:1e3\ndata:x\n\n", [{ data: "x" }]],
    ["ignores retry -1", "retry:-1\ndata:x\n\n", [{ data: "x" }]],
    ["ignores an empty retry", "retry\ndata:x\n\n", [{ data: "x" }]],
    ["ignores a retry of full-width digits", "retry:１\ndata:x\n\n", [{ data: "x" }]],
    ["ignores a retry that no number holds", `retry:${"9".repeat(20)}\ndata:x\n\n`, [{
      data: "x",
    }]],
  ];
  for (const [name, text, messages] of cases) {
    it(name, () => {
      expect(read(text)).toEqual(messages);
      expect(readBytewise(encode(text))).toEqual(messages);
    });
  }

  it("takes CR and LF in two pieces as one line end", () => {
    expect(read("data:a\r", "\ndata:b\r", "\n\r", "\n")).toEqual([{ data: "a\nb" }]);
  });

  it("gives a message at the CR that ends it, before the next byte", () => {
    expect(read("data:a\r\n\r")).toEqual([{ data: "a" }]);
    expect(read("data:a\r\n\r", "\ndata:b\n\n")).toEqual([{ data: "a" }, { data: "b" }]);
  });

  it("drops a byte order mark that comes in three pieces", () => {
    const mark = [0xef, 0xbb, 0xbf].map((byte) => Uint8Array.of(byte));
    expect(read(...mark, "data:x\n\n")).toEqual([{ data: "x" }]);
  });

  it("keeps a byte order mark inside the stream", () => {
    expect(read("data:\ufeffx\n\n")).toEqual([{ data: "\ufeffx" }]);
  });

  it("takes nothing from an empty piece", () => {
    expect(read("data:x\r", "", "\n", "", "\n")).toEqual([{ data: "x" }]);
  });

  it("replaces invalid UTF-8", () => {
    expect(read("data:", Uint8Array.of(0xff, 0x41), "\n\n")).toEqual([{ data: "\ufffdA" }]);
  });

  it("joins an emoji that comes in four pieces", () => {
    const emoji = [...encode("😀")].map((byte) => Uint8Array.of(byte));
    expect(read("data:", ...emoji, "\n\n")).toEqual([{ data: "😀" }]);
  });

  it("reads a line of 1 MB that comes in small pieces", () => {
    const piece = "x".repeat(1000);
    const messages = read("data:", ...Array.from({ length: 1000 }, () => piece), "\n\n");
    expect(messages[0]?.data?.length).toBe(1_000_000);
  });

  it("reads 100,000 short lines in one piece without searching it again for each", () => {
    expect(read("data:x\n\n".repeat(100_000)).length).toBe(100_000);
  });

  it("commits an id with its block, data or not, and keeps it", () => {
    const parser = new SseParser();
    expect(parser.lastEventId).toBe("");
    parser.push(encode("id: s:1\n"));
    expect(parser.lastEventId).toBe("");
    parser.push(encode("\n"));
    expect(parser.lastEventId).toBe("s:1");
    parser.push(encode("data:x\n\n"));
    expect(parser.lastEventId).toBe("s:1");
    parser.push(encode("id\ndata:x\n\n"));
    expect(parser.lastEventId).toBe("");
  });

  it("does not commit the id of a torn block", () => {
    const parser = new SseParser();
    parser.push(encode("id:1\ndata:x\n\nid:2\ndata:y\n"));
    expect(parser.lastEventId).toBe("1");
  });

  it("keeps the last valid retry", () => {
    const parser = new SseParser();
    parser.push(encode("retry:100\n\nretry:bad\n\n"));
    expect(parser.retryMs).toBe(100);
  });
});

describe("parseSse()", () => {
  it("reads a body, and cancels it where the loop is left", async () => {
    let isCancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(encode("data: x\n\n")),
      cancel: () => {
        isCancelled = true;
      },
    });
    for await (const message of parseSse(body)) {
      expect(message).toEqual({ data: "x" });
      break;
    }
    expect(isCancelled).toBe(true);
  });
});

describe("SseParser after encodeSse()", () => {
  const line = fc.string({ unit: "binary" }).map((text) => text.replace(/[\r\n\0]/g, "~"));
  const lines = fc.array(line, { minLength: 1, maxLength: 4 }).map((all) => all.join("\n"));
  const message = fc.record({
    comment: lines,
    event: line,
    data: lines,
    id: line,
    retry: fc.nat(),
  }, { requiredKeys: [] }).filter((fields) => Object.keys(fields).length > 0);
  const fields = ["comment", "event", "data", "id", "retry"] as const;
  const cuts = fc.array(fc.nat(400), { maxLength: 6 });

  it("gives back 100,000 random messages", () => {
    fc.assert(
      fc.property(message, (written) => {
        const [bytes, parser] = [encodeSseBytes(written), new SseParser()];
        const [found, ...others] = parser.push(bytes);
        return others.length === 0 && found !== undefined &&
          fields.every((field) => found[field] === written[field]);
      }),
      { numRuns: 100_000 },
    );
  });

  it("gives back what was written, whatever the pieces", () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), cuts, (messages, places) => {
        const bytes = encode(messages.map(encodeSse).join(""));
        const at = [0, ...places.map((place) => Math.min(place, bytes.length)), bytes.length];
        at.sort((a, b) => a - b);
        const pieces = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
        expect(read(...pieces)).toEqual(messages as SseMessage[]);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("Others and encodeSse()", () => {
  const messages: SseMessage[] = [
    { retry: 3000, comment: "ok" },
    { event: "token", data: '{"token":"é","position":1}', id: "s:1" },
    { comment: "ping" },
    { data: " two\nlines\n" },
    { data: "" },
    { data: "[DONE]" },
  ];

  it("agree: eventsource-parser reads what was written", () => {
    const events: EventSourceMessage[] = [];
    let retry: number | undefined;
    const parser = createParser({
      onEvent: (event) => events.push(event),
      onRetry: (ms) => retry = ms,
    });
    for (const message of messages) parser.feed(encodeSse(message));
    expect(events.map(({ id, event, data }) => ({ id, event, data }))).toEqual(
      messages.filter(({ data }) => data !== undefined).map(({ id, event, data = "" }) => ({
        id,
        event,
        data,
      })),
    );
    expect(retry).toBe(3000);
  });

  it("agree: messages pass through the ServerSentEventStream of @std/http", async () => {
    // Bun cannot resolve a package of JSR, so that it gets the stand-in by its path.
    const { ServerSentEventStream } = "Deno" in globalThis
      ? await import("@std/http/server-sent-event-stream")
      : await import("../../tools/std_http/server_sent_event_stream.ts");
    const source = new ReadableStream<SseMessage>({
      start(controller) {
        for (const message of messages) controller.enqueue(message);
        controller.close();
      },
    });
    const read = await Array.fromAsync(parseSse(source.pipeThrough(new ServerSentEventStream())));
    // It writes no space after the colon, so that a leading space of the data is lost on the way.
    expect(read).toEqual(messages.map((message) => ({
      ...message,
      ...(message.data === undefined ? {} : { data: message.data.replaceAll(/^ /gm, "") }),
    })));
  });
});
