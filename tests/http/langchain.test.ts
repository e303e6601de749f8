/** LangChain's client of OpenAI servers, unchanged, over a port and in process. */
import { HumanMessage, SystemMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { OverloadedError } from "../../src/errors.ts";
import { createHandler } from "../../src/server/handler.ts";
import { endless, MockGenerator, saying, START, token } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

type Place = {
  baseURL: string;
  mock: MockGenerator;
  fetch?: typeof globalThis.fetch;
  close: () => Promise<void>;
};

async function overPort(): Promise<Place> {
  const mock = new MockGenerator();
  const server = await serveHere(createHandler(mock, { onError: () => undefined }));
  return { baseURL: `${server.url}/v1`, mock, close: () => server.stop() };
}

function inProcess(): Promise<Place> {
  const mock = new MockGenerator();
  const handler = createHandler(mock, { onError: () => undefined });
  const fetch =
    ((url: string, init?: RequestInit) =>
      handler(new Request(url, init))) as typeof globalThis.fetch;
  return Promise.resolve({
    baseURL: "http://localhost/v1",
    mock,
    fetch,
    close: () => Promise.resolve(),
  });
}

async function rejection(promise: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  const thrown = await promise.then(() => undefined, (error: unknown) => error);
  if (!(thrown instanceof Error)) throw new TypeError("It did not reject");
  return thrown as Error & Record<string, unknown>;
}

const prompt = [new SystemMessage("Be short."), new HumanMessage("Say hello.")];
const steady = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));

const PLACES = [["over a port", overPort], ["in process", inProcess]] as const;
for (const [name, open] of PLACES) {
  describe(`@langchain/openai ${name}`, () => {
    let place: Place;
    let model: ChatOpenAI;
    const modelWith = (fields: { temperature: number }): ChatOpenAI =>
      new ChatOpenAI({
        model: "mock",
        apiKey: "not-needed",
        maxRetries: 0,
        configuration: {
          baseURL: place.baseURL,
          ...(place.fetch !== undefined && { fetch: place.fetch }),
        },
        ...fields,
      });
    beforeAll(async () => {
      place = await open();
      model = modelWith({ temperature: 0 });
    });
    afterAll(() => place.close());

    it("invoke() gets the message, why it ended and what it used", async () => {
      place.mock.script = saying("Hello", "", ", wörld");
      const message = await model.invoke(prompt);
      expect(message.content).toBe("Hello, wörld");
      expect(message.response_metadata["finish_reason"]).toBe("stop");
      expect(message.usage_metadata).toMatchObject({ input_tokens: 5, output_tokens: 3 });
      expect(place.mock.requests.at(-1)?.messages).toEqual([
        { role: "system", content: "Be short." },
        { role: "user", content: "Say hello." },
      ]);
    });

    it("stream() streams the same, its usage with the last", async () => {
      place.mock.script = saying("Hello", "", ", wörld");
      const chunks = await Array.fromAsync(await model.stream(prompt));
      expect(chunks.map(({ content }) => content).join("")).toBe("Hello, wörld");
      const used = chunks.map(({ usage_metadata }) => usage_metadata).filter(Boolean);
      expect(used.at(-1)).toMatchObject({ input_tokens: 5, output_tokens: 3, total_tokens: 8 });
    });

    it("throws for a bad field, by its name", async () => {
      const error = await rejection(modelWith({ temperature: 9 }).invoke(prompt));
      expect(error["status"]).toBe(400);
      expect(error.message).toContain("temperature: expected a number from 0 to 2, got 9");
    });

    it("throws where there is no room", async () => {
      place.mock.script = () => [new OverloadedError("The queue is full", 3)];
      expect((await rejection(model.invoke(prompt)))["status"]).toBe(429);
    });

    it("throws where a stream breaks off, after what was said before", async () => {
      place.mock.script = () => [
        START,
        token("Hello", 1),
        { type: "error", code: "engine_error", message: "", hints: [] },
      ];
      let text = "";
      const error = await rejection((async () => {
        for await (const { content } of await model.stream(prompt)) text += String(content);
      })());
      expect(text).toBe("Hello");
      expect(error.message).toContain("the engine failed");
    });

    it("frees the generation where the loop is left", async () => {
      place.mock.script = steady;
      for await (const { content } of await model.stream(prompt)) {
        if (content !== "") break;
      }
      await place.mock.until(() => place.mock.active === 0);
    });

    it("frees the generation where the signal is aborted in a stream", async () => {
      place.mock.script = steady;
      const abort = new AbortController();
      const error = await rejection((async () => {
        const stream = await model.stream(prompt, { signal: abort.signal });
        for await (const { content } of stream) if (content !== "") abort.abort();
      })());
      expect(`${error.name} ${error.message}`).toMatch(/abort/i);
      await place.mock.until(() => place.mock.active === 0);
    });

    it("frees the generation where the signal is aborted before the answer", async () => {
      place.mock.script = steady;
      const abort = new AbortController();
      const rejected = rejection(model.invoke(prompt, { signal: abort.signal }));
      await place.mock.until(() => place.mock.active > 0);
      abort.abort();
      expect(`${(await rejected).message}`).toMatch(/abort/i);
      await place.mock.until(() => place.mock.active === 0);
    });
  });
}
