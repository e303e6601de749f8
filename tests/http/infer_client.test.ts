/** The client of `/v1/infer` as people print it, word for word, against a real port. */
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { readFile } from "node:fs/promises";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler } from "../../src/server/handler.ts";
import { EventSourceHere } from "../support/event_source.ts";
import { endless, MockGenerator, saying, START, token } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

const TEXTS = ["Hello", "", ' "wörld"\n\n', "😀", "data: [DONE]"];
const mock = new MockGenerator();
let server: RunningServer;

/** Opens the page that the client is in; it logs until it closes its source. */
async function open(onLog: (text: string) => void = () => undefined) {
  const closed = Promise.withResolvers<void>();
  const logged: string[] = [];
  const sources: EventSource[] = [];
  class PageEventSource extends EventSourceHere {
    constructor(path: string) {
      super(server.url + path);
      sources.push(this as unknown as EventSource);
    }

    override close(): void {
      super.close();
      closed.resolve();
    }
  }
  const page = {
    EventSource: PageEventSource,
    console: {
      log: (text: string) => {
        logged.push(text);
        onLog(text);
      },
    },
  };
  const script = await readFile(new URL("fixtures/infer_client.txt", import.meta.url), "utf8");
  new Function(...Object.keys(page), script)(...Object.values(page));
  return { logged, closed: closed.promise, source: sources[0]! };
}

beforeAll(async () => {
  server = await serveHere(createHandler(mock, { onError: () => undefined }));
});
afterAll(() => server.stop());

describe("a client that opens an EventSource on /v1/infer", () => {
  it("logs every token and closes at [DONE]", async () => {
    mock.script = saying(...TEXTS);
    const { logged, closed } = await open();
    await closed;
    expect(logged).toEqual(TEXTS);
    expect(mock.requests.at(-1)).toMatchObject({ prompt: "Hello", maxTokens: 512 });
  });

  it("closes after an error too, which it logs as no token", async () => {
    mock.script = () => [
      START,
      token("Hello", 1),
      { type: "error", code: "engine_error", message: "", hints: [] },
    ];
    const { logged, closed } = await open();
    await closed;
    expect(logged).toEqual(["Hello", undefined as unknown as string]);
  });

  it("frees the generation a while after its page is left", async () => {
    mock.script = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));
    const left = Promise.withResolvers<void>();
    const { source } = await open(() => left.resolve());
    await left.promise;
    source.close();
    // It may be back within the grace of a GET; a stop does not wait for that.
    expect(mock.active).toBe(1);
    await server.stop();
    expect(mock.active).toBe(0);
  });
});
