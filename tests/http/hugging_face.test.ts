/** The official client of Hugging Face, unchanged, over a port and in process. */
import { InferenceClient, InferenceClientProviderApiError } from "@huggingface/inference";
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import { EngineError, OverloadedError } from "../../src/errors.ts";
import { createHandler } from "../../src/server/handler.ts";
import { endless, MockGenerator, saying, START, token } from "../support/mock_generator.ts";
import { serveHere } from "../support/serve_here.ts";

/** What the client gives from a server of its own protocol. */
interface StreamOutput {
  index: number;
  token: { id: number; text: string; special: boolean };
  generated_text: string | null;
  details: { finish_reason: string; generated_tokens: number } | null;
}

interface Place {
  url: string;
  mock: MockGenerator;
  fetch: typeof fetch;
  close(): Promise<void>;
}

async function overPort(): Promise<Place> {
  const mock = new MockGenerator();
  const server = await serveHere(createHandler(mock, { onError: () => undefined }));
  return { url: server.url, mock, fetch: globalThis.fetch, close: () => server.stop() };
}

function inProcess(): Promise<Place> {
  const mock = new MockGenerator();
  const handler = createHandler(mock, { onError: () => undefined });
  const fetch =
    ((url: string, init?: RequestInit) =>
      handler(new Request(url, init))) as typeof globalThis.fetch;
  return Promise.resolve({ url: "http://localhost", mock, fetch, close: () => Promise.resolve() });
}

const inputs = "Once upon a time";
const messages = [{ role: "user", content: "Hi" }];
const steady = endless(() => new Promise((resolve) => setTimeout(resolve, 1)));

async function rejection(promise: Promise<unknown>): Promise<Error> {
  const thrown = await promise.then(() => undefined, (error: unknown) => error);
  if (!(thrown instanceof Error)) throw new TypeError("It did not reject");
  return thrown;
}

const PLACES = [["over a port", overPort], ["in process", inProcess]] as const;
for (const [name, open] of PLACES) {
  describe(`@huggingface/inference ${name}`, () => {
    let place: Place;
    let client: InferenceClient;
    beforeAll(async () => {
      place = await open();
      client = new InferenceClient("", { fetch: place.fetch, retry_on_error: false });
    });
    afterAll(() => place.close());

    const stream = (
      more: { parameters?: Record<string, unknown>; signal?: AbortSignal } = {},
    ) => {
      const { signal, parameters = {} } = more;
      const ask = { endpointUrl: `${place.url}/generate_stream`, inputs, parameters };
      return client.streamingRequest<StreamOutput>(ask, signal === undefined ? {} : { signal });
    };

    it("streams from /generate_stream", async () => {
      place.mock.script = saying("Hello", "", ", wörld");
      const outputs = await Array.fromAsync(stream({ parameters: { details: true } }));
      expect(outputs.map((output) => output.token.text)).toEqual(["Hello", "", ", wörld", ""]);
      expect(outputs.map((output) => output.index)).toEqual([1, 2, 3, 4]);
      expect(outputs.at(-1)).toMatchObject({
        token: { special: true },
        generated_text: "Hello, wörld",
        details: { finish_reason: "eos_token", generated_tokens: 3 },
      });
    });

    it("gets an answer of /generate in one piece", async () => {
      place.mock.script = saying("Hello", ", wörld");
      const endpointUrl = `${place.url}/generate`;
      const parameters = { details: true, max_new_tokens: 8 };
      const answer = await client.request<
        { generated_text: string; details: { tokens: unknown[] } }
      >(
        { endpointUrl, inputs, parameters },
      );
      expect(answer.generated_text).toBe("Hello, wörld");
      expect(answer.details.tokens.length).toBe(2);
      expect(place.mock.requests.at(-1)).toMatchObject({ prompt: inputs, maxTokens: 8 });
    });

    it("gets an answer of the endpoint itself", async () => {
      place.mock.script = saying("Hello");
      const answer = await client.request({ endpointUrl: place.url, inputs });
      expect(answer).toEqual([{ generated_text: "Hello" }]);
    });

    it("throws its error with the sentence of a refusal", async () => {
      const endpointUrl = `${place.url}/generate`;
      const bad = { endpointUrl, inputs, parameters: { best_of: 3, top_p: 7 } };
      for (const answer of [client.request(bad), Array.fromAsync(stream(bad))]) {
        const error = await rejection(answer);
        expect(error).toBeInstanceOf(InferenceClientProviderApiError);
        expect(error.message).toContain("parameters.best_of: expected 1 or nothing");
        expect(error.message).toContain("parameters.top_p: expected a number from 0 to 1");
        expect(error).toMatchObject({
          httpResponse: { status: 422, body: { error_type: "validation" } },
        });
      }
    });

    it("throws its error where there is no room, and does not come back at once", async () => {
      place.mock.script = () => [new OverloadedError("The queue is full", 2)];
      const before = place.mock.requests.length;
      const error = await rejection(Array.fromAsync(stream()));
      expect(error).toMatchObject({ httpResponse: { status: 429 } });
      expect(place.mock.requests.length).toBe(before + 1);
    });

    it("throws its error where a generation cannot start, with that server's status", async () => {
      place.mock.script = () => [new EngineError("The library failed")];
      for (const path of ["generate", "generate_stream"]) {
        const ask = { endpointUrl: `${place.url}/${path}`, inputs };
        const error = await rejection(client.request(ask));
        expect(error).toMatchObject({
          httpResponse: { status: 424, body: { error_type: "generation" } },
        });
      }
    });

    it("throws its error where a stream breaks off", async () => {
      place.mock.script = () => [
        START,
        token("Hello", 1),
        { type: "error", code: "engine_error", message: "", hints: [] },
      ];
      const outputs: StreamOutput[] = [];
      const error = await rejection((async () => {
        for await (const output of stream()) outputs.push(output);
      })());
      expect(outputs.length).toBe(1);
      expect(error.message).toContain("the engine failed");
    });

    it("frees the generation where the signal is aborted in a stream", async () => {
      place.mock.script = steady;
      const abort = new AbortController();
      const error = await rejection((async () => {
        for await (const output of stream({ signal: abort.signal })) {
          if (output.index === 3) abort.abort();
        }
      })());
      expect(error.name).toBe("AbortError");
      await place.mock.until(() => place.mock.active === 0);
    });

    it("talks to the OpenAI routes too, stream and not", async () => {
      place.mock.script = saying("Hello", " there");
      const endpointUrl = `${place.url}/v1`;
      const text = await client.textGeneration({ endpointUrl, inputs });
      expect(text.generated_text).toBe("Hello there");
      const chat = await client.chatCompletion({ endpointUrl, messages });
      expect(chat.choices[0]?.message.content).toBe("Hello there");
      const chunks = await Array.fromAsync(client.chatCompletionStream({ endpointUrl, messages }));
      const pieces = chunks.map(({ choices }) => choices[0]?.delta.content ?? "");
      expect(pieces.join("")).toBe("Hello there");
    });
  });
}
