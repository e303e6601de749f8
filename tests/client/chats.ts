/**
 * What the tests of the client do again and again with a scripted server.
 *
 * @module
 */
import { expect } from "bun:test";
import { streamChat, type StreamChatOptions } from "../../src/client/chat.ts";
import type { ChatStream } from "../../src/client/chat_stream.ts";
import { StreamError } from "../../src/client/stream_error.ts";
import type { SseMessage } from "../../src/stream/sse.ts";
import {
  bodyOf,
  bytesOf,
  MESSAGES,
  preamble,
  type Script,
  type ScriptedServer,
  streamed,
} from "./scripted_server.ts";

/** The positions of all tokens. */
export const POSITIONS: number[] = [1, 2, 3, 4, 5, 6];
/** The bytes of the whole stream. */
export const WHOLE: Uint8Array<ArrayBuffer> = bytesOf([preamble(true), ...MESSAGES]);

/** A new stream of a scripted server, with short pauses. */
export function chat(
  server: ScriptedServer,
  more: Partial<StreamChatOptions> = {},
): ChatStream {
  return streamChat({
    url: "http://fake/",
    prompt: "Hi",
    fetch: server.fetch,
    retryMs: 1,
    ...more,
  });
}

/** Reads a stream to its end. */
export async function positions(stream: ChatStream): Promise<number[]> {
  return (await Array.fromAsync(stream)).map(({ position }) => position);
}

/** The StreamError that a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<StreamError> {
  const thrown = await promise.then(() => undefined, (thrown: unknown) => thrown);
  expect(thrown).toBeInstanceOf(StreamError);
  return thrown as StreamError;
}

/** A script whose first connection says these messages only, then ends. */
export function first(...messages: SseMessage[]): Script {
  return (_request, k) =>
    k === 0 ? streamed(bodyOf(bytesOf([preamble(true), ...messages]))) : undefined;
}
