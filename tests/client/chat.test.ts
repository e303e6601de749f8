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
import { type ChatToken, resumeStream, streamChat } from "../../src/client/mod.ts";
import type { SseMessage } from "../../src/stream/sse.ts";

const ENDS = ["closes", "fails"] as const;

describe("streamChat()", () => {
  test("gives each token with its text, id, place and time, then how it ended", async () => {
    const server = new ScriptedServer();
    const stream = chat(server);
    const tokens: ChatToken[] = await Array.fromAsync(stream);
    expect(tokens[0]).toEqual({ text: "Hé", tokenId: 101, position: 1, timeMs: 10 });
    expect(tokens.map(({ text }) => text).join("")).toBe(TEXT);
    expect(await stream.completion).toEqual({
      totalTokens: 7,
      totalTimeMs: 70,
      tokensPerSecond: 85.71,
      completedNormally: true,
      completionReason: "Generation completed successfully",
    });
    expect(await stream.id).toBe(STREAM);
    expect(stream.lastEventId).toBe(`${STREAM}:8`);
    expect(await stream.text()).toBe(TEXT);
    expect(server.came.length).toBe(1);
  });

  test("sends its options by the wire's names, and asks for a grace by default", async () => {
    const server = new ScriptedServer();
    const messages = [{ role: "user", content: "Hi" }];
    const headers = { authorization: "Bearer key" };
    await streamChat({
      url: "http://fake",
      fetch: server.fetch,
      messages,
      maxTokens: 5,
      topK: 3,
      repeatLastN: -1,
      ignoreEos: true,
      headers,
    }).text();
    const [came] = server.came;
    expect(came!.path).toBe("/v1/stream");
    expect(came!.headers.get("authorization")).toBe("Bearer key");
    expect(JSON.parse(came!.body)).toEqual({
      messages,
      max_tokens: 5,
      top_k: 3,
      repeat_last_n: -1,
      ignore_eos: true,
      on_disconnect: { grace_ms: 60_000 },
    });
    await chat(server, { onDisconnect: "pause" }).text();
    expect(JSON.parse(server.came[1]!.body).on_disconnect).toBe("pause");
  });

  test.each(ENDS)("gives the same tokens wherever one cut falls: it %s", async (end) => {
    const cuts = Array.from(WHOLE, (_byte, cut) => cut);
    const wrong = await Promise.all(cuts.map(async (cut) => {
      const server = new ScriptedServer((_request, k) =>
        k === 0 ? streamed(bodyOf(WHOLE.slice(0, cut), end)) : undefined
      );
      const stream = chat(server);
      const places = await positions(stream);
      const same = places.join() === POSITIONS.join() && await stream.text() === TEXT;
      // Only the blank line of the last message is the end.
      const isResumed = server.came.length === 2 && server.came[1]!.method === "GET";
      return same && isResumed ? [] : [cut];
    }));
    expect(cuts.length).toBeGreaterThan(700);
    expect(wrong.flat()).toEqual([]);
  });

  test("gives the same tokens when every connection is cut, at any length", async () => {
    // Enough for the longest message, or nothing would ever get through.
    const least = bytesOf([preamble(true), MESSAGES.at(-1)!]).length;
    const lengths = Array.from({ length: 200 }, (_, i) => least + i);
    const texts = await Promise.all(lengths.map(async (length) => {
      const server: ScriptedServer = new ScriptedServer((came) => {
        const bytes = server.bytes(came)!;
        return streamed(bodyOf(bytes.slice(0, length), length % 2 === 0 ? "fails" : "closes"));
      });
      const text = await chat(server).text();
      expect(server.came.length).toBeGreaterThan(2);
      return text;
    }));
    expect(new Set(texts)).toEqual(new Set([TEXT]));
  });

  test("drops what a proxy says again", async () => {
    const [one, two, three, ...rest] = MESSAGES;
    const again = [one!, two!, one!, two!, three!, two!, three!, ...rest];
    expect(await positions(chat(new ScriptedServer(first(...again))))).toEqual(POSITIONS);
  });

  test("drops what comes again after a cut", async () => {
    const server = new ScriptedServer((_request, k) =>
      streamed(bodyOf(k === 0 ? WHOLE.slice(0, WHOLE.length - 40) : WHOLE))
    );
    expect(await positions(chat(server))).toEqual(POSITIONS);
  });

  test("drops what comes again by its position where a proxy removes the ids", async () => {
    const bare = (messages: readonly SseMessage[]) => messages.map(({ id: _, ...rest }) => rest);
    const server = new ScriptedServer((_request, k) => {
      const messages = bare([preamble(true), ...k === 0 ? MESSAGES.slice(0, 3) : MESSAGES]);
      return streamed(bodyOf(bytesOf(messages)));
    });
    expect(await positions(chat(server))).toEqual(POSITIONS);
  });

  test("keeps every message of an event that became several", async () => {
    const parts = [1, 2, 3].map((k): SseMessage => ({
      ...tokenAt(k, `${k}`),
      id: k === 3 ? `${STREAM}:1` : `${STREAM}:1.${k}`,
    }));
    // The next event begins where the positions of the one before it have been already.
    const messages = [...parts, tokenAt(2, "4"), completeAt(3)];
    const whole = bytesOf([preamble(true), ...messages]);
    const server = new ScriptedServer((_request, k) =>
      k === 0 ? streamed(bodyOf(whole)) : undefined
    );
    expect(await chat(server).text()).toBe("1234");
  });

  test("asks from the last whole message on, with the id of the response", async () => {
    const server = new ScriptedServer(first(...MESSAGES.slice(0, 2)));
    await chat(server).text();
    const { path, headers } = server.came[1]!;
    expect(path).toBe(`/v1/streams/${STREAM}`);
    expect(headers.get("last-event-id")).toBe(`${STREAM}:2`);
    expect(headers.get("idempotency-key")).toBeNull();
  });

  test("asks for the whole stream where only the header had come", async () => {
    const server = new ScriptedServer((_request, k) =>
      k === 0 ? streamed(bodyOf(new Uint8Array(0))) : undefined
    );
    expect(await chat(server).text()).toBe(TEXT);
    expect(server.came[1]!.path).toBe(`/v1/streams/${STREAM}`);
    expect(server.came[1]!.headers.get("last-event-id")).toBeNull();
  });

  test("takes the id of the first message where the header is hidden", async () => {
    const server = new ScriptedServer((_request, k) =>
      k === 0 ? streamed(bodyOf(bytesOf([preamble(true)])), false) : undefined
    );
    const stream = chat(server);
    expect(await stream.text()).toBe(TEXT);
    expect(await stream.id).toBe(STREAM);
    expect(server.came[1]!.headers.get("last-event-id")).toBe(`${STREAM}:0`);
  });

  test("reconnects after a shutdown, though the connection stays open", async () => {
    const shutdown = { retry: 2, event: "shutdown", data: "{}" };
    const messages = [preamble(true), ...MESSAGES.slice(0, 4), shutdown];
    const { promise, resolve } = Promise.withResolvers<void>();
    const server = new ScriptedServer((_request, k) =>
      k === 0 ? streamed(bodyOf(bytesOf(messages), "open", resolve)) : undefined
    );
    expect(await positions(chat(server))).toEqual(POSITIONS);
    await promise;
  });

  test("ends with the error that the stream ends with", async () => {
    const data = { error_type: "generation", message: "Cannot go on", recovery_hints: ["Wait."] };
    const error = { id: `${STREAM}:2`, event: "error", data: JSON.stringify(data) };
    const stream = chat(new ScriptedServer(first(MESSAGES[0]!, error)));
    const seen: number[] = [];
    const thrown = await failure((async () => {
      for await (const { position } of stream) seen.push(position);
    })());
    expect(thrown).toMatchObject({ code: "generation_failed", errorType: "generation" });
    expect(thrown.hints).toEqual(["Wait."]);
    expect(seen).toEqual([1]);
    expect(await failure(stream.text())).toBe(thrown);
  });
});

describe("resumeStream()", () => {
  const resume = (server: ScriptedServer, from?: string | number) =>
    resumeStream({
      url: "http://fake",
      id: STREAM,
      fetch: server.fetch,
      retryMs: 1,
      ...(from !== undefined && { from }),
    });

  test("gives the whole stream without a place to go on from", async () => {
    const server = new ScriptedServer();
    expect(await resume(server).text()).toBe(TEXT);
    expect(server.came.map(({ method }) => method)).toEqual(["GET"]);
  });

  test.each([`${STREAM}:4`, "4", 4])("goes on after %p", async (from) => {
    const server = new ScriptedServer((_request, k) =>
      // A proxy that ignores the place; then one that cuts at once.
      k === 0 ? streamed(bodyOf(WHOLE.slice(0, WHOLE.length - 200))) : undefined
    );
    expect(await positions(resume(server, from))).toEqual([5, 6]);
    expect(server.came[0]!.headers.get("last-event-id")).toBe(`${STREAM}:4`);
  });

  test("is empty where everything was delivered, and cannot say how it ended", async () => {
    const stream = resume(new ScriptedServer(), 8);
    expect(await positions(stream)).toEqual([]);
    expect(await stream.text()).toBe("");
    expect((await failure(stream.completion)).code).toBe("already_delivered");
  });

  test("goes on where another client stopped reading", async () => {
    const server = new ScriptedServer();
    const before = chat(server);
    for await (const { position } of before) if (position === 3) break;
    expect(await positions(resume(server, before.lastEventId))).toEqual([4, 5, 6]);
  });
});
