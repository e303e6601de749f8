/** The conformance kit: a whole score for our server, and the right names for a broken one. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import type { Finding } from "../../bench/conformance/check.ts";
import { score } from "../../bench/conformance/check.ts";
import { CHECKS, examine } from "../../bench/conformance/run.ts";
import { conformingScript, SILENT_PROMPT } from "../../bench/conformance/script.ts";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { MockGenerator } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

const conforming = (): Handler =>
  createHandler(new MockGenerator(conformingScript), { keepAliveMs: 100 });

/** A server whose streams are changed on their way, message by message. */
function changed(
  change: (message: string) => string,
  changeHeaders: (headers: Headers) => void = () => undefined,
): Handler {
  const handler = conforming();
  const answer = async (request: Request): Promise<Response> => {
    const response = await handler(request);
    const type = response.headers.get("content-type") ?? "";
    if (response.body === null || !type.startsWith("text/event-stream")) return response;
    const headers = new Headers(response.headers);
    changeHeaders(headers);
    const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];
    // One message is one chunk.
    const body = response.body.pipeThrough(
      new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform(bytes, controller) {
          const text = change(decoder.decode(bytes));
          if (text !== "") controller.enqueue(encoder.encode(text));
        },
      }),
    );
    return new Response(body, { headers });
  };
  return Object.assign(answer, { drain: handler.drain, streams: handler.streams });
}

async function examined(handler: Handler): Promise<Finding[]> {
  const server = await serveHere(handler);
  try {
    return await Array.fromAsync(examine(server.url));
  } finally {
    await server.stop();
  }
}

const notHeld = (all: readonly Finding[]): string[] =>
  all.filter(({ outcome }) => outcome !== "held").map(({ name, outcome }) => `${outcome} ${name}`);

describe("examine()", () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await serveHere(conforming());
  });
  afterAll(() => server.stop());

  it("finds that every rule holds for the mock server", async () => {
    const all = await Array.fromAsync(examine(server.url, { silentPrompt: SILENT_PROMPT }));
    expect(all.filter(({ outcome }) => outcome !== "held")).toEqual([]);
    const runs = CHECKS.map(({ routes }) => Math.max(1, routes.length));
    expect(all.length).toBe(runs.reduce((sum, n) => sum + n) + 1);
    expect(score(all)).toEqual({ held: all.length, of: all.length });
  });

  it("names what a server without [DONE] lacks, and nothing else", async () => {
    const found = await examined(changed((text) => text.includes("[DONE]") ? "" : text));
    expect(notHeld(found)).toEqual([
      "failed chat sends [DONE] once, last",
      "failed completions sends [DONE] once, last",
      // What follows from it: the last message of the body is not the last of the stream.
      "failed chat answers 204 where nothing is left",
      "failed chat says the same as application/x-ndjson",
    ]);
  });

  it("says that resuming is missing where messages have no ids", async () => {
    const found = notHeld(await examined(changed((text) => text.replace(/^id: .*\n/m, ""))));
    expect(found).toContain("missing chat puts an id of its own on every message");
    expect(found).toContain("missing native goes on from every id, byte for byte");
    expect(found.some((name) => name.startsWith("failed"))).toBe(false);
  });

  it("names the headers, the spaces and the preamble that are wrong", async () => {
    const found = await examined(changed(
      (text) => text.startsWith("retry: ") ? "" : text.replace("data: {", "data:{"),
      (headers) => headers.delete("x-accel-buffering"),
    ));
    for (const route of ["chat", "completions", "native"]) {
      expect(notHeld(found)).toContain(
        `failed ${route} sends headers that no proxy buffers or caches`,
      );
      expect(notHeld(found)).toContain(`failed ${route} says something before the first token`);
      expect(notHeld(found)).toContain(
        `failed ${route} writes \`data: \` and every other field with one space`,
      );
    }
  });

  it("finds nothing at a server that has no such routes", async () => {
    const nothing = Object.assign(
      () => Promise.resolve(new Response("no", { status: 404 })),
      { drain: () => Promise.resolve(), streams: conforming().streams },
    );
    const { held } = score(await examined(nothing));
    // HEAD is answered as GET is, and a stream that is not there is shown to nobody.
    expect(held).toBe(1);
  });
});
