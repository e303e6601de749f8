import { describe, expect, test } from "bun:test";
import { chat, failure, POSITIONS, positions, WHOLE } from "./chats.ts";
import { bodyOf, bytesOf, MESSAGES, ScriptedServer, streamed, TEXT } from "./scripted_server.ts";

describe("a Connection", () => {
  test.each([1, 2, 3, 5, 7, 64])("gives the same tokens in pieces of %i bytes", async (size) => {
    const server = new ScriptedServer(() => {
      const pieces: Uint8Array<ArrayBuffer>[] = [];
      for (let at = 0; at < WHOLE.length; at += size) pieces.push(WHOLE.slice(at, at + size));
      const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
        pull: (controller) => {
          const piece = pieces.shift();
          if (piece === undefined) controller.close();
          else controller.enqueue(piece);
        },
      });
      return streamed(body);
    });
    expect(await chat(server).text()).toBe(TEXT);
  });

  test("reconnects when nothing arrives for silenceMs", async () => {
    const server = new ScriptedServer((_request, k) =>
      k === 0 ? streamed(bodyOf(WHOLE.slice(0, 300), "open")) : undefined
    );
    expect(await positions(chat(server, { silenceMs: 20 }))).toEqual(POSITIONS);
    expect(server.came.length).toBe(2);
  });

  test.each([
    ["a page", () => new Response("<html>", { headers: { "content-type": "text/html" } })],
    ["no JSON", () => streamed(bodyOf(bytesOf([{ ...MESSAGES[0]!, data: "{" }])))],
    ["another stream", () => streamed(bodyOf(bytesOf([{ ...MESSAGES[0]!, id: "other:1" }])))],
  ])("does not take %s for a stream", async (_what, answer) => {
    const thrown = await failure(chat(new ScriptedServer(answer)).text());
    expect(thrown.code).toBe("unexpected_answer");
  });
});
