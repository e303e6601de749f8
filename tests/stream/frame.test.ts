/** Binary frames: golden bytes, what a reader refuses, and that writer and reader are inverse. */
import { describe, expect, it } from "bun:test";
import fc from "fast-check";
import type { StreamEvent, TokenEvent } from "../../src/stream/event.ts";
import {
  encodeFrame,
  type Frame,
  FRAME_PAYLOAD_MAX,
  FrameError,
  frameMagic,
  FrameParser,
  parseFrames,
} from "../../src/stream/frame.ts";

const token: TokenEvent = {
  type: "token",
  seq: 258,
  ids: [1, 0xdead_beef],
  text: "é!",
  timeMs: 1.5,
  choice: 3,
  channel: "reasoning",
};
const error: StreamEvent = { type: "error", code: "cancelled", message: "Gone", hints: [] };
const complete: StreamEvent = {
  type: "complete",
  finishReason: "eos",
  stats: {
    promptTokens: 3,
    generatedTokens: 2,
    queueMs: 0,
    prefillMs: 1.25,
    decodeMs: 2,
    totalMs: 3.5,
  },
};
/** An event that this version of the format has no kind for. */
const notice = { type: "notice", code: "not_resumable" } as unknown as StreamEvent;

const hex = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(text.trim().split(/\s+/), (byte) => parseInt(byte, 16));

function join(...pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

/** A frame by hand: its header and its payload. */
function frame(
  length: number,
  kind: number,
  payload: Uint8Array | string = "",
): Uint8Array<ArrayBuffer> {
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  const header = new DataView(new ArrayBuffer(12));
  header.setUint32(0, length, true);
  header.setUint8(8, kind);
  return join(new Uint8Array(header.buffer), bytes);
}

function read(...pieces: Uint8Array[]): Frame[] {
  const parser = new FrameParser();
  const frames = pieces.flatMap((piece) => parser.push(piece));
  parser.end();
  return frames;
}

function failureOf(call: () => unknown): FrameError {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof FrameError) return thrown;
    throw thrown;
  }
  throw new TypeError("nothing was thrown");
}

describe("encodeFrame()", () => {
  it("opens a stream by its magic and its version", () => {
    expect(frameMagic()).toEqual(hex("53 4c 46 01"));
  });

  it("writes a token byte for byte", () => {
    expect(encodeFrame({ seq: 258, event: token })).toEqual(hex(`
      1b 00 00 00  02 01 00 00  02  01  03 00
      00 00 00 00 00 00 f8 3f  02 00 00 00  03 00 00 00
      01 00 00 00  ef be ad de  c3 a9 21
    `));
  });

  it("writes a ping byte for byte", () => {
    expect(encodeFrame({ seq: 7, event: null })).toEqual(
      hex("00 00 00 00 07 00 00 00 00 00 00 00"),
    );
  });

  it.each<[StreamEvent, number]>([
    [{ type: "start", replay: null, promptTokens: 3 }, 1],
    [{ type: "usage", promptTokens: 1, completionTokens: 2, cachedTokens: 0 }, 3],
    [complete, 4],
    [error, 5],
    [notice, 6],
  ])("writes $type as JSON", (event, kind) => {
    const bytes = encodeFrame({ seq: 0, event });
    const json = JSON.stringify(event);
    expect(bytes).toEqual(frame(json.length, kind, json));
  });

  it("writes a lone surrogate as U+FFFD", () => {
    const [found] = read(
      frameMagic(),
      encodeFrame({ seq: 258, event: { ...token, text: "a\ud800" } }),
    );
    expect(found?.event).toEqual({ ...token, text: "a\ufffd" });
  });

  it.each<[string, Frame]>([
    ["its seq is -1", { seq: -1, event: null }],
    ["its seq is 4294967296", { seq: 2 ** 32, event: error }],
    ["its seq is 0.5", { seq: 0.5, event: token }],
    ["its token id is -1", { seq: 1, event: { ...token, ids: [-1] } }],
    ["its token id is NaN", { seq: 1, event: { ...token, ids: [NaN] } }],
    ["its choice is 65536", { seq: 1, event: { ...token, choice: 65_536 } }],
    ['its channel is "x"', { seq: 1, event: { ...token, channel: "x" as "tool" } }],
    ["its payload has 4194339 bytes", {
      seq: 1,
      event: { ...token, text: "x".repeat(FRAME_PAYLOAD_MAX) },
    }],
    ["its payload has 4194358 bytes", {
      seq: 1,
      event: { ...error, code: "x".repeat(FRAME_PAYLOAD_MAX) },
    }],
  ])("throws where %s", (message, bad) => {
    const failure = failureOf(() => encodeFrame(bad));
    expect(failure.message).toContain(`Cannot write the frame: ${message}`);
    expect(failure.offset).toBe(undefined);
    expect(failure.code).toBe("invalid_frame");
  });
});

describe("FrameParser", () => {
  const frames: Frame[] = [
    { seq: 0, event: { type: "start", replay: "é", promptTokens: 3 } },
    { seq: 258, event: token },
    { seq: 258, event: null },
    { seq: 259, event: { ...token, seq: 200, ids: [], text: "" } },
    { seq: 260, event: { ...token, seq: 260, logprobs: [-0.5] } as TokenEvent },
    { seq: 261, event: notice },
    { seq: 262, event: complete },
  ];
  const stream = join(frameMagic(), ...frames.map(encodeFrame));

  it("reads a stream the same at every cut, and byte by byte", () => {
    expect(read(stream)).toEqual(frames);
    for (let at = 0; at <= stream.length; at++) {
      expect(read(stream.subarray(0, at), stream.subarray(at))).toEqual(frames);
    }
    expect(read(...Array.from(stream, (byte) => Uint8Array.of(byte)))).toEqual(frames);
  });

  it("says where a stream is torn, at every byte", () => {
    const ends = frames.reduce(
      (all, each) => [...all, all.at(-1)! + encodeFrame(each).length],
      [4],
    );
    for (let at = 0; at < stream.length; at++) {
      const parser = new FrameParser();
      parser.push(stream.subarray(0, at));
      if (ends.includes(at)) parser.end();
      else {
        const failure = failureOf(() => parser.end());
        expect(failure.offset).toBe(ends.findLast((end) => end < at) ?? 0);
        expect(failure.message).toContain("the stream ends after");
      }
    }
  });

  it("keeps a byte order mark that begins a text", () => {
    const event: TokenEvent = { ...token, text: "\ufeffx" };
    expect(read(frameMagic(), encodeFrame({ seq: 258, event }))).toEqual([{ seq: 258, event }]);
  });

  it("is not changed by whoever reuses the piece", () => {
    const parser = new FrameParser();
    const piece = stream.slice(0, 40);
    parser.push(piece);
    piece.fill(0xff);
    expect(parser.push(stream.subarray(40)).length).toBeGreaterThan(0);
    parser.end();
  });

  it.each<[string, Uint8Array, string]>([
    ["another format", hex("7b 22"), "the stream begins with the bytes 123"],
    ["another version", hex("53 4c 46 02"), "their version is 2, expected 1"],
    ["a kind of the future", join(frameMagic(), frame(0, 7)), "its kind is 7, expected 0 to 6"],
    ["a length over the limit", join(frameMagic(), frame(2 ** 32 - 1, 1)), "4294967295 bytes"],
    ["a ping with a payload", join(frameMagic(), frame(2, 0, "{}")), "expected them to agree"],
    ["JSON that is none", join(frameMagic(), frame(2, 1, "{]")), "its payload is not JSON"],
    ["no payload", join(frameMagic(), frame(0, 1)), "its payload is not JSON"],
    ["JSON that is no object", join(frameMagic(), frame(2, 1, "[]")), "its JSON is no object"],
    ["an event without a type", join(frameMagic(), frame(2, 6, "{}")), "type is undefined"],
    [
      "an event of another kind",
      join(frameMagic(), frame(16, 6, '{"type":"error"}')),
      'its kind is 6 and its event\'s type is "error"',
    ],
    ["text that is no UTF-8", join(frameMagic(), frame(1, 1, hex("ff"))), "its text is not UTF-8"],
    ["a short token", join(frameMagic(), frame(3, 2, "abc")), "need 16 bytes"],
    [
      "a token with more ids than bytes",
      join(frameMagic(), frame(16, 2, hex("0 0 0 0 0 0 0 0 ff ff ff ff ff ff ff ff"))),
      "need 21474836491 bytes, and its payload has 16",
    ],
    [
      "a token of no channel",
      join(frameMagic(), hex("10 0 0 0 0 0 0 0 2 9 0 0"), new Uint8Array(16)),
      "its channel is 9, expected 0 to 2",
    ],
    [
      "a token whose rest is no object",
      join(frameMagic(), frame(17, 2, join(new Uint8Array(16), hex("31")))),
      "its JSON is no object",
    ],
  ])("throws on %s, wherever it is cut", (_, bytes, message) => {
    for (let at = 0; at < bytes.length; at++) {
      const failure = failureOf(() => read(bytes.subarray(0, at), bytes.subarray(at)));
      expect(failure.message).toContain(message);
      expect(failure.offset).toBe(bytes.length > 4 ? 4 : 0);
    }
  });

  it("refuses a length over its limit before the payload comes", () => {
    const parser = new FrameParser(10);
    expect(parser.push(join(frameMagic(), frame(10, 1)))).toEqual([]);
    const strict = new FrameParser(9);
    expect(() => strict.push(join(frameMagic(), frame(10, 1)))).toThrow("expected at most 9");
  });

  it("gives the frames before a bad one first, and stays broken", () => {
    const parser = new FrameParser();
    expect(parser.push(join(stream, frame(0, 99), stream))).toEqual(frames);
    expect(failureOf(() => parser.end()).offset).toBe(stream.length);
    expect(() => parser.push(new Uint8Array(0))).toThrow("its kind is 99");
  });
});

describe("parseFrames()", () => {
  it("reads a body to its end", async () => {
    const bytes = join(frameMagic(), encodeFrame({ seq: 258, event: token }));
    expect(await Array.fromAsync(parseFrames(new Response(bytes).body!))).toEqual([
      { seq: 258, event: token },
    ]);
  });

  it("throws where the body is torn, and cancels it where the loop is left", async () => {
    const torn = new Response(frameMagic().subarray(0, 3)).body!;
    await expect(Array.fromAsync(parseFrames(torn))).rejects.toThrow("the stream ends after");
    let isCancelled = false;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(frameMagic()),
      pull: (controller) => controller.enqueue(encodeFrame({ seq: 1, event: null })),
      cancel: () => {
        isCancelled = true;
      },
    });
    for await (const _ of parseFrames(body)) break;
    expect(isCancelled).toBe(true);
  });
});

describe("FrameParser after encodeFrame()", () => {
  const seq = fc.nat(2 ** 32 - 1);
  const text = fc.string({ unit: "grapheme" });
  const number = fc.double({ noNaN: true }).map((value) => value + 0);
  const tokens = fc.record({
    type: fc.constant("token" as const),
    seq,
    ids: fc.array(fc.nat(2 ** 32 - 1), { maxLength: 8 }),
    text: fc.string({ unit: "binary" }),
    timeMs: number,
    choice: fc.nat(65_535),
    channel: fc.constantFrom("content" as const, "reasoning" as const, "tool" as const),
    logprobs: fc.array(fc.integer()),
  }, { requiredKeys: ["type", "seq", "ids", "text", "timeMs", "choice", "channel"] });
  const others = fc.record({
    type: fc.constantFrom("start", "usage", "complete", "error", "notice", "snapshot"),
    text,
    value: fc.jsonValue({ noUnicodeString: false }),
  }).map((event) => JSON.parse(JSON.stringify(event)) as unknown as StreamEvent);
  const frame = fc.record({ seq, event: fc.oneof(tokens, tokens, others, fc.constant(null)) });

  it("gives back what was written, whatever the pieces", () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 5 }), fc.nat(60), (frames, size) => {
        const bytes = join(frameMagic(), ...frames.map(encodeFrame));
        const pieces = Array.from(
          { length: Math.ceil(bytes.length / (size + 1)) },
          (_, i) => bytes.subarray(i * (size + 1), (i + 1) * (size + 1)),
        );
        expect(read(...pieces)).toEqual(frames as Frame[]);
      }),
      { numRuns: 2000 },
    );
  });

  it("throws nothing but a FrameError on bytes of any kind", () => {
    const good = encodeFrame({ seq: 1, event: token });
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.uint8Array(), (at, byte, more) => {
        const bytes = join(frameMagic(), good.with(at, byte), more);
        try {
          read(bytes);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(FrameError);
        }
      }),
      { numRuns: 5000 },
    );
  });
});
