/** Chunks: one answer of an upstream as events, and how it ends. */
import { describe, expect, it } from "bun:test";
import { Chunks } from "../../src/relay/chunks.ts";
import { UpstreamReader } from "../../src/relay/upstream.ts";
import { chatChunk } from "../support/fake_upstream.ts";

const { signal } = new AbortController();

function chunksOf(...pieces: string[]): Chunks {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });
  return new Chunks(Promise.resolve(new UpstreamReader(body, 1000, signal)));
}

async function drain(chunks: Chunks): Promise<string[]> {
  const texts: string[] = [];
  for (let next = await chunks.next(); next !== undefined; next = await chunks.next()) {
    if (next.type === "token") texts.push(next.text);
  }
  return texts;
}

describe("Chunks", () => {
  it.each([
    ["stop", "eos"],
    ["eos", "eos"],
    ["length", "length"],
    ["tool_calls", "tool_calls"],
    ["function_call", "tool_calls"],
    ["content_filter", "stop"],
    ["a new word", "eos"],
  ])("knows the reason %j as %j", async (reason, known) => {
    const chunks = chunksOf(chatChunk({ content: "a" }), chatChunk({}, reason));
    expect(await drain(chunks)).toEqual(["a"]);
    expect(chunks.ending(false)).toMatchObject([{ type: "complete", finishReason: known }]);
  });

  it("counts the pieces where the upstream does not tell what was used", async () => {
    const chunks = chunksOf(chatChunk({ content: "a" }), chatChunk({ content: "b" }, "stop"));
    await drain(chunks);
    expect(chunks.ending(false)).toMatchObject([{ stats: { generatedTokens: 2 } }]);
    expect(chunks.ending(true)).toMatchObject([{ finishReason: "cancelled" }]);
  });

  it("gives an empty piece no event, and goes on past a chunk without choices", async () => {
    const empty = 'data: {"choices":[]}\n\ndata: {}\n\ndata: 7\n\n';
    const chunks = chunksOf(chatChunk({ content: "" }), empty, chatChunk({ content: "a" }, "stop"));
    expect(await drain(chunks)).toEqual(["a"]);
  });

  it("reads nothing after the end that was said", async () => {
    const chunks = chunksOf("data: [DONE]\n\n" + chatChunk({ content: "late" }));
    expect(await drain(chunks)).toEqual([]);
  });

  it("waits for the answer to begin, at most as long as it is told", async () => {
    const never = new Chunks(new Promise(() => undefined));
    await never.opened(1);
    const refused = new Chunks(Promise.reject(new Error("no")));
    expect(await refused.opened(1000).catch((error: Error) => error.message)).toBe("no");
  });
});
