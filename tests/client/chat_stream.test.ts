import { describe, expect, test } from "bun:test";
import { chat, failure, first, POSITIONS, positions, WHOLE } from "./chats.ts";
import {
  bodyOf,
  bytesOf,
  completeAt,
  MESSAGES,
  preamble,
  ScriptedServer,
  STREAM,
  streamed,
  TEXT,
  tokenAt,
} from "./scripted_server.ts";
import type { ChatStream, StreamChatOptions } from "../../src/client/mod.ts";

describe("a ChatStream", () => {
  /** A stream that says two tokens and stays open; tells when its connection is closed. */
  function open(more: Partial<StreamChatOptions> = {}) {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    const bytes = bytesOf([preamble(true), ...MESSAGES.slice(0, 2)]);
    const server = new ScriptedServer((_request, k) =>
      k === 0 ? streamed(bodyOf(bytes, "open", resolve)) : undefined
    );
    return { server, stream: chat(server, more), closed };
  }

  async function readUntilThrown(stream: ChatStream, at: () => void): Promise<unknown> {
    try {
      for await (const { position } of stream) if (position === 2) at();
    } catch (thrown) {
      return thrown;
    }
    return undefined;
  }

  test("is left by abort(): the loop throws an AbortError and the connection closes", async () => {
    const { server, stream, closed } = open();
    const thrown = await readUntilThrown(stream, () => stream.abort()) as DOMException;
    expect(thrown.name).toBe("AbortError");
    expect(await stream.completion.catch((reason) => reason)).toBe(thrown);
    await closed;
    expect(server.came.map(({ method }) => method)).toEqual(["POST"]);
  });

  test("is left by abort() while it waits for the next token", async () => {
    const { stream, closed } = open();
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    await iterator.next();
    const waiting = iterator.next().then(() => undefined, (thrown) => thrown);
    stream.abort();
    expect((await waiting).name).toBe("AbortError");
    await closed;
  });

  test("is left by abort() before the server has answered", async () => {
    const stream = chat(new ScriptedServer(() => new Promise<Response>(() => {})));
    const id = stream.id.catch((thrown) => thrown.name);
    stream.abort();
    expect(await id).toBe("AbortError");
    expect(await stream.text().catch((thrown) => thrown.name)).toBe("AbortError");
  });

  test("is left by abort() while it waits for the next attempt", async () => {
    const server = new ScriptedServer(() => Promise.reject(new TypeError("fetch failed")));
    const stream = chat(server, { retryMs: 60_000, timeoutMs: 600_000 });
    const text = stream.text().catch((thrown) => thrown.name);
    stream.abort();
    expect(await text).toBe("AbortError");
  });

  test("is left by its signal, with the signal's reason", async () => {
    const reason = new Error("Enough");
    const controller = new AbortController();
    const { stream, closed } = open({ signal: controller.signal });
    expect(await readUntilThrown(stream, () => controller.abort(reason))).toBe(reason);
    await closed;
    const late = chat(new ScriptedServer(), { signal: AbortSignal.abort(reason) });
    expect(await late.text().catch((thrown) => thrown)).toBe(reason);
  });

  test("is left by leaving the loop", async () => {
    const { stream, closed } = open();
    for await (const _token of stream) break;
    await closed;
    expect((await stream.completion.catch((thrown) => thrown)).name).toBe("AbortError");
  });

  test("is not failed by an abort after its end", async () => {
    const stream = chat(new ScriptedServer());
    await stream.text();
    stream.abort();
    await stream.stop();
    expect((await stream.completion).completedNormally).toBe(true);
    expect(await stream.text()).toBe(TEXT);
  });

  test("is stopped by stop(): the loop goes on to the end, which is not normal", async () => {
    const stopped = Promise.withResolvers<void>();
    const server = new ScriptedServer(({ method }, k) => {
      if (method === "DELETE") {
        // The first attempt is lost on its way.
        if (k === 1) throw new TypeError("fetch failed");
        stopped.resolve();
        return new Response(null, { status: 204 });
      }
      let isFirst = true;
      const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
        pull: async (controller) => {
          if (isFirst) {
            controller.enqueue(bytesOf([preamble(true), ...MESSAGES.slice(0, 2)]));
          } else {
            await stopped.promise;
            controller.enqueue(bytesOf([tokenAt(3, "!"), completeAt(4, false)]));
          }
          isFirst = false;
        },
      });
      return streamed(body);
    });
    const stream = chat(server);
    const seen: number[] = [];
    for await (const { position } of stream) {
      seen.push(position);
      if (position === 2) await stream.stop();
    }
    expect(seen).toEqual([1, 2, 3]);
    expect(server.came.map(({ method }) => method)).toEqual(["POST", "DELETE", "DELETE"]);
    expect(server.came[2]!.path).toBe(`/v1/streams/${STREAM}`);
    expect((await stream.completion).completedNormally).toBe(false);
  });

  test("says when stop() finds no stream", async () => {
    const server = new ScriptedServer(({ method }) =>
      method === "DELETE" ? new Response("{}", { status: 404 }) : streamed(bodyOf(WHOLE, "open"))
    );
    const stream = chat(server);
    expect((await failure(stream.stop())).code).toBe("stream_not_found");
    expect(await positions(stream)).toEqual(POSITIONS);
  });

  test("asks for nothing more than is read", async () => {
    let pulled = 0;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => {
        pulled++;
        controller.enqueue(bytesOf([pulled === 1 ? preamble(true) : tokenAt(pulled - 1, "x")]));
      },
    }, { highWaterMark: 0 });
    const stream = chat(new ScriptedServer(() => streamed(body)));
    const iterator = stream[Symbol.asyncIterator]();
    await stream.id;
    expect(pulled).toBe(0);
    await iterator.next();
    expect(pulled).toBe(2);
    await iterator.return!();
  });

  test("leaves no timer behind", async () => {
    const { live, restore } = (await import("../support/timers.ts")).watchTimers();
    try {
      await chat(new ScriptedServer(first(...MESSAGES.slice(0, 2)))).text();
      expect(live.size).toBe(0);
    } finally {
      restore();
    }
  });
});
