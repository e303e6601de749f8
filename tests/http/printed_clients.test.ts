/** Clients as people print them in their guides, word for word, against a real port. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "bun:test";
import { readFile } from "node:fs/promises";
import type { RunningServer } from "../../src/server/adapters/server.ts";
import { createHandler } from "../../src/server/handler.ts";
import type { StreamEvent } from "../../src/stream/event.ts";
import { EventSourceHere } from "../support/event_source.ts";
import { MockGenerator, saying, START, token } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

/** Held-back code points, quotes, line ends, and what looks like the end. */
const TEXTS = ["", "é", ' "\n\n', "data: [DONE]", "\n", "😀", " end"];
const BROKEN: StreamEvent = { type: "error", code: "engine_error", message: "", hints: [] };
const SENTENCE = "Cannot finish the generation: the engine failed";

const mock = new MockGenerator();
let server: RunningServer;

/** A client's function out of its text, with what a page would give it. */
async function client<T>(file: string, name: string, page: Record<string, unknown>): Promise<T> {
  const text = await readFile(new URL(`fixtures/${file}.txt`, import.meta.url), "utf8");
  const script = text.replace(/^import .*$/m, "").replaceAll(/^export /gm, "")
    .replaceAll(": string", "").replaceAll("body!", "body");
  return new Function(...Object.keys(page), `${script}\nreturn ${name};`)(...Object.values(page));
}

/** What relative addresses mean in a page of the server. */
const fetchHere = (path: string, init?: RequestInit): Promise<Response> =>
  fetch(server.url + path, init);
class PageEventSource extends EventSourceHere {
  constructor(path: string) {
    super(server.url + path);
  }
}

beforeAll(async () => {
  const routes = { "/v1/chat/completions": "content" };
  server = await serveHere(createHandler(mock, { routes, onError: () => {} }));
});
afterAll(() => server.stop());
beforeEach(() => {
  mock.script = saying(...TEXTS);
});

describe("a client that reads every block as JSON", () => {
  async function output(): Promise<string> {
    const page = { textContent: "" };
    const document = { getElementById: (id: string) => id === "output" ? page : null };
    const streamChat = await client<(messages: unknown) => Promise<void>>(
      "content_client",
      "streamChat",
      { fetch: fetchHere, document },
    );
    await streamChat([{ role: "user", content: "Hi" }]);
    return page.textContent;
  }

  it("shows the whole answer", async () => {
    expect(await output()).toBe(TEXTS.join(""));
  });

  it("throws what went wrong", async () => {
    mock.script = () => [START, token("a", 1), BROKEN];
    await expect(output()).rejects.toThrow(SENTENCE);
  });
});

describe("a client that reads data: lines from /chat/stream", () => {
  it("gets every token and sees the end", async () => {
    let text = "";
    const appendToken = (token: string): void => void (text += token);
    const streamChat = await client<(prompt: string) => Promise<void>>(
      "chat_stream_client",
      "streamChat",
      { fetch: fetchHere, appendToken },
    );
    await streamChat("Hi");
    expect(text).toBe(TEXTS.join(""));
    expect(mock.requests.at(-1)?.messages).toEqual([{ role: "user", content: "Hi" }]);
  });
});

describe("a hook that opens an EventSource on /chat/stream", () => {
  /** The states of the hook, told whenever one is set. */
  async function sent(prompt: string): Promise<{ response: unknown; seen: boolean[] }> {
    const ended = Promise.withResolvers<void>();
    const states: unknown[] = [];
    const seen: boolean[] = [];
    const useState = (initial: unknown): [unknown, (next: unknown) => void] => {
      const at = states.push(initial) - 1;
      return [initial, (next) => {
        states[at] = typeof next === "function" ? next(states[at]) : next;
        if (typeof next === "boolean") seen.push(next);
        if (next === false) ended.resolve();
      }];
    };
    const hook = await client<() => { sendMessage(prompt: string): Promise<void> }>(
      "chat_stream_hook",
      "useStreamingChat",
      { EventSource: PageEventSource, useState },
    );
    await hook().sendMessage(prompt);
    await ended.promise;
    return { response: states[0], seen };
  }

  it("shows the whole answer and stops", async () => {
    expect(await sent("Hi & <you>?")).toEqual({ response: TEXTS.join(""), seen: [true, false] });
    expect(mock.requests.at(-1)?.messages).toEqual([{ role: "user", content: "Hi & <you>?" }]);
  });

  it("stops where the generation fails", async () => {
    mock.script = () => [START, token("a", 1), BROKEN];
    expect(await sent("Hi")).toEqual({ response: "a", seen: [true, false] });
  });
});
