/** The recordings: what the server says today, and what a client makes of them, cut and torn. */
import { describe, expect, it } from "bun:test";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { CHAT, messagesOf, textOf } from "../../bench/conformance/probe.ts";
import { readRecording, recordAll, writeRecording } from "../../bench/conformance/recording.ts";
import { replay, type ReplayOptions } from "../../bench/conformance/replay.ts";
import { streamChat } from "../../src/client/mod.ts";
import { parseFrames } from "../../src/stream/frame.ts";
import { parseNdjson } from "../../src/stream/ndjson.ts";

const golden = fileURLToPath(new URL("../stream/golden/", import.meta.url));
const TEXT = "Hello w\u00f6rld\n\n\ndata: x\u65e5\u672c\u{1f600}";

async function replayed<T>(
  options: Partial<ReplayOptions>,
  use: (url: string, requests: readonly string[]) => Promise<T>,
): Promise<T> {
  const replayer = await replay({ folder: golden, port: 0, ...options });
  try {
    return await use(replayer.url, replayer.requests);
  } finally {
    await replayer.close();
  }
}

describe("recordAll()", () => {
  it("makes the bytes that are kept in tests/stream/golden", async () => {
    for (const recording of await recordAll()) {
      const kept = await readFile(`${golden}${recording.name}.http`);
      expect(new TextDecoder().decode(kept))
        .toBe(new TextDecoder().decode(writeRecording(recording)));
      expect(kept.length).toBe(writeRecording(recording).length);
    }
  });

  it("says the same in every framing", async () => {
    const bodyOf = async (name: string) =>
      new Response((await readRecording(golden, name)).body).body!;
    const lines = await Array.fromAsync(parseNdjson(await bodyOf("native_ndjson")));
    const frames = await Array.fromAsync(parseFrames(await bodyOf("native_binary")));
    const texts = lines.map(({ data }) => (data as { token?: string }).token ?? "");
    expect(texts.join("")).toBe(TEXT);
    expect(frames.map(({ event }) => event?.type === "token" ? event.text : "").join(""))
      .toBe(TEXT);
  });
});

describe("replay()", () => {
  it("repeats a recording, status and headers too", async () => {
    await replayed({ chunkBytes: 7 }, async (url) => {
      const chat = await fetch(`${url}/chat/v1/chat/completions`, { method: "POST", body: "{}" });
      expect(chat.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
      expect(textOf(CHAT, messagesOf(await chat.text()))).toBe(TEXT);
      const refused = await fetch(`${url}/chat_refused/v1/chat/completions`, { method: "POST" });
      expect(refused.status).toBe(400);
      expect(await refused.json()).toMatchObject({ error: { param: "temperature" } });
      const unknown = await fetch(`${url}/nothing/v1/stream`, { method: "POST" });
      expect(unknown.status).toBe(404);
      expect(await unknown.text()).toContain("expected one of chat,");
    });
  });

  for (const [cutBytes, chunkBytes] of [[300, 50], [450, 1], [999, 999]] as const) {
    it(`has a reader get all ${cutBytes} bytes before a cut, then the cut`, async () => {
      await replayed({ cutBytes, chunkBytes }, async (url) => {
        for (let i = 0; i < 5; i++) {
          const { body } = await fetch(`${url}/native/v1/stream`, { method: "POST", body: "{}" });
          const reader = body!.getReader();
          let bytes = 0;
          const all = async (): Promise<void> => {
            for (;;) bytes += (await reader.read()).value!.length;
          };
          await expect(all()).rejects.toThrow(/connection/);
          expect(bytes).toBe(cutBytes);
        }
      });
    });

    it(`has a client resume that is cut every ${cutBytes} bytes`, async () => {
      await replayed({ cutBytes, chunkBytes, retryMs: 5 }, async (url, requests) => {
        const stream = streamChat({ url: `${url}/native`, prompt: "Hi", retryMs: 1 });
        const tokens = await Array.fromAsync(stream);
        expect(tokens.map(({ text }) => text).join("")).toBe(TEXT);
        expect(tokens.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
        const id = "5".repeat(32);
        expect(requests[0]).toBe("POST /native/v1/stream");
        expect(requests).toContain(`GET /native/v1/streams/${id}`);
      });
    });
  }

  it("gives a client the failure of a stream", async () => {
    await replayed({}, async (url) => {
      const stream = streamChat({ url: `${url}/native_error`, prompt: "Hi", retryMs: 1 });
      await expect(Array.fromAsync(stream)).rejects.toThrow("the engine failed");
    });
  });
});
