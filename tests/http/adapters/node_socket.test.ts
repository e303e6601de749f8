/** Frames of WebSockets, and what the server says to a client that breaks their rules. */
import { afterEach, describe, expect, it } from "bun:test";
import { connect, type Socket } from "node:net";
import {
  encodeFrame,
  type Frame,
  FrameError,
  FrameParser,
} from "../../../src/server/adapters/node_socket.ts";
import type { RunningServer } from "../../../src/server/adapters/server.ts";
import { HANDSHAKE, setUp } from "../../support/fake_socket.ts";
import { saying } from "../../support/mock_generator.ts";
import { serveOnNode } from "../../support/serve_here.ts";

const MASK = [1, 2, 3, 4];
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A frame as a client sends it. */
function masked(first: number, payload: Uint8Array): Uint8Array {
  const plain = encodeFrame(0, payload);
  const head = plain.slice(0, plain.length - payload.length);
  head[0] = first;
  head[1]! |= 0x80;
  return new Uint8Array([...head, ...MASK, ...payload.map((byte, i) => byte ^ MASK[i & 3]!)]);
}

function parse(...pieces: Uint8Array[]): Frame[] {
  const parser = new FrameParser();
  return pieces.flatMap((piece) => [...parser.push(piece)]);
}

describe("FrameParser", () => {
  it.each([0, 1, 125, 126, 65_535, 65_536])("takes a frame of %i bytes in two pieces", (length) => {
    const payload = new Uint8Array(length).map((_, i) => i);
    const frame = masked(0x82, payload);
    for (const cut of [1, 2, 3, 7, frame.length - 1]) {
      const [taken, ...more] = parse(frame.slice(0, cut), frame.slice(cut));
      expect(more).toEqual([]);
      expect([taken?.opcode, taken?.isLast]).toEqual([2, true]);
      expect(taken?.payload).toEqual(payload);
    }
  });

  it("takes several frames at once", () => {
    const both = new Uint8Array([...masked(0x01, bytesOf("a")), ...masked(0x89, bytesOf(""))]);
    expect(parse(both).map(({ opcode, isLast }) => [opcode, isLast])).toEqual([[1, false], [
      9,
      true,
    ]]);
  });

  it.each([
    ["without a mask", encodeFrame(1, bytesOf("a")), 1002],
    ["with a reserved bit", masked(0xc1, bytesOf("a")), 1002],
    ["of an unknown kind", masked(0x83, bytesOf("a")), 1002],
    ["of an unknown kind of control", masked(0x8b, bytesOf("a")), 1002],
    ["of control in pieces", masked(0x09, bytesOf("a")), 1002],
    ["of control that is long", masked(0x89, new Uint8Array(126)), 1002],
    ["of 2^63 bytes", new Uint8Array([0x82, 0xff, 0x80, ...new Uint8Array(11)]), 1009],
  ])("refuses a frame %s", (_name, frame, code) => {
    let thrown: unknown;
    try {
      parse(frame as Uint8Array);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(FrameError);
    expect((thrown as FrameError).code).toBe(code as number);
  });
});

describe("serve() of a WebSocket on node:http", () => {
  let server: RunningServer | undefined;
  let socket: Socket | undefined;
  afterEach(async () => {
    socket?.destroy();
    await server?.stop();
  });

  /** A socket behind its handshake, and the bytes of the frames that came. */
  async function open(first: Uint8Array = new Uint8Array(0)) {
    const { handler } = setUp(saying("Hello"));
    server = await serveOnNode(handler);
    const opened = connect(server.port, "127.0.0.1");
    socket = opened;
    opened.on("error", () => undefined);
    const head = Object.entries(HANDSHAKE).map(([name, value]) => `${name}: ${value}\r\n`).join("");
    opened.write(new Uint8Array([...bytesOf(`GET /v1/stream HTTP/1.1\r\n${head}\r\n`), ...first]));
    let text = "";
    const waiting: (() => void)[] = [];
    opened.on("data", (bytes) => {
      text += Buffer.from(bytes).toString("latin1");
      for (const look of waiting) look();
    });
    const until = (part: string): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (text.includes(part)) resolve();
        };
        waiting.push(look);
        look();
      });
    await until("\r\n\r\n");
    return { socket: opened, until, text: () => text };
  }

  it("proves that it has read the key", async () => {
    const { text } = await open();
    expect(text()).toMatch(/^HTTP\/1.1 101 /);
    expect(text()).toContain("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
  });

  it("takes a message that comes with the handshake", async () => {
    const { until } = await open(masked(0x81, bytesOf('{"type":"ping"}')));
    await until('{"type":"pong"}');
  });

  it("joins the pieces of a message, with a ping between them", async () => {
    const { socket, until } = await open();
    socket.write(masked(0x01, bytesOf('{"type":')));
    socket.write(masked(0x89, bytesOf("are you there")));
    await until("\x8a\x0dare you there");
    socket.write(masked(0x80, bytesOf('"ping"}')));
    await until('{"type":"pong"}');
  });

  it.each([
    ["a frame without a mask", encodeFrame(1, bytesOf("a")), "\x88\x02\x03\xea"],
    ["a piece without a beginning", masked(0x80, bytesOf("a")), "\x88\x02\x03\xea"],
    ["text that is no UTF-8", masked(0x81, new Uint8Array([255])), "\x88\x02\x03\xef"],
    ["a close", masked(0x88, new Uint8Array([3, 232])), "\x88\x02\x03\xe8"],
    ["a close without a code", masked(0x88, new Uint8Array(0)), "\x88\x02\x03\xe8"],
  ])("closes after %s", async (_name, frame, answer) => {
    const { socket, until } = await open();
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(frame as Uint8Array);
    await until(answer as string);
    await closed;
  });
});
