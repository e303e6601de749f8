/**
 * sdkSuite(): the official OpenAI client and the Vercel AI SDK, unchanged, against anything that
 * speaks the dialect.
 *
 * Asserts nothing about which words come, so that it runs against a fake and against a real model
 * alike.
 *
 * @module
 */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, type LanguageModel, streamText } from "ai";
import { afterAll, beforeAll, describe, expect, it } from "bun:test";
import OpenAI, {
  APIError,
  APIUserAbortError,
  BadRequestError,
  NotFoundError,
  RateLimitError,
} from "openai";

/** The signature of `fetch` that the client libraries take. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** Ways to make the next request fail. */
export interface Faults {
  /** No room: 429 before the stream. */
  overload(): void;
  /** An error event after the first token. */
  breakOff(): void;
}

/** What the suite talks to. */
export interface Target {
  /** With `/v1` at its end. */
  readonly baseURL: string;
  /** Id of the model, as `/v1/models` says it. */
  readonly model: string;
  /** How to reach it where that is not over a port. */
  readonly fetch?: Fetch;
  /** Resolves once a generation runs. */
  busy(): Promise<void>;
  /** Resolves once none runs. */
  idle(): Promise<void>;
  /** What makes the next request fail; only a fake can do that. */
  readonly faults?: Faults;
  close(): Promise<void>;
}

const messages = [{ role: "user" as const, content: "Say hello." }];
/** The same tokens every time, and not many. */
const short = { messages, max_tokens: 8, temperature: 0, seed: 1 };
/** More than anybody waits for; llama-server's field lets it run on. */
const long = { messages, max_tokens: 1000, temperature: 0, ignore_eos: true };
const FINISHES = ["stop", "length"];

async function rejection<E>(
  promise: PromiseLike<unknown>,
  kind: abstract new (...values: never[]) => E,
): Promise<E> {
  const error = await promise.then(() => undefined, (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(kind);
  return error as E;
}

function faultsOf({ faults }: Target): Faults {
  if (faults === undefined) throw new TypeError("The target cannot fail on demand");
  return faults;
}

/** How a test gets at what is made before all of them. */
type OpenAiContext = () => { target: Target; client: OpenAI };
type AiContext = () => { target: Target; model: LanguageModel };

/**
 * Declares the suite for one kind of target.
 *
 * @param hasFaults whether the target can be made to fail
 */
export function sdkSuite(
  name: string,
  makeTarget: () => Promise<Target>,
  hasFaults = false,
): void {
  describe(name, () => {
    let target: Target;
    let client: OpenAI;
    let model: LanguageModel;

    beforeAll(async () => {
      target = await makeTarget();
      const fetch = target.fetch === undefined
        ? {}
        : { fetch: target.fetch as typeof globalThis.fetch };
      const { baseURL } = target;
      client = new OpenAI({ baseURL, apiKey: "not-needed", maxRetries: 0, ...fetch });
      const provider = createOpenAICompatible({
        name: "sluice",
        baseURL,
        includeUsage: true,
        ...fetch,
      });
      model = provider(target.model);
    });
    afterAll(() => target.close());

    describe("openai", () => {
      const context: OpenAiContext = () => ({ target, client });
      openAiChats(context);
      openAiOthers(context);
      if (hasFaults) openAiFaults(context);
      openAiAborts(context);
    });
    describe("ai", () => {
      const context: AiContext = () => ({ target, model });
      aiAnswers(context);
      if (hasFaults) aiFaults(context);
      aiAborts(context);
    });
  });
}

function openAiChats(context: OpenAiContext): void {
  it("gets a chat completion in one piece", async () => {
    const { client, target } = context();
    const completion = await client.chat.completions.create({ model: target.model, ...short });
    expect(completion.object).toBe("chat.completion");
    expect(completion.model).toBe(target.model);
    expect(completion.choices.length).toBe(1);
    expect(completion.choices[0]?.message.role).toBe("assistant");
    expect(completion.choices[0]?.message.content).not.toBe("");
    expect(FINISHES).toContain(completion.choices[0]?.finish_reason as string);
    const { prompt_tokens, completion_tokens, total_tokens } = completion.usage ?? {};
    expect(prompt_tokens).toBeGreaterThan(0);
    expect(completion_tokens).toBeGreaterThan(0);
    expect(total_tokens).toBe(Number(prompt_tokens) + Number(completion_tokens));
  });

  it("streams the same chat completion, its role first and its usage last", async () => {
    const { client, target } = context();
    const request = { model: target.model, ...short };
    const whole = await client.chat.completions.create(request);
    const stream = await client.chat.completions.create({
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await Array.fromAsync(stream);
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: "assistant", content: "" });
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    expect(text).toBe(whole.choices[0]?.message.content as string);
    const reasons = chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter((each) => each);
    expect(reasons).toEqual([whole.choices[0]?.finish_reason as "stop"]);
    expect(chunks.at(-1)?.choices).toEqual([]);
    // A second request may find its prompt in the cache.
    const { prompt_tokens_details: _first, ...counts } = chunks.at(-1)?.usage ?? {};
    const { prompt_tokens_details: _second, ...expected } = whole.usage ?? {};
    expect(counts).toEqual(expected);
  });

  it("collects a stream with its helper", async () => {
    const { client, target } = context();
    const runner = client.chat.completions.stream({ model: target.model, ...short });
    const completion = await runner.finalChatCompletion();
    expect(completion.choices[0]?.message.content).not.toBe("");
  });
}

function openAiOthers(context: OpenAiContext): void {
  it("gets a completion, stream and not", async () => {
    const { client, target } = context();
    const { messages: _, ...options } = short;
    const request = { model: target.model, prompt: "Once upon a time", ...options };
    const whole = await client.completions.create(request);
    const chunks = await Array.fromAsync(
      await client.completions.create({ ...request, stream: true }),
    );
    expect(chunks.map((chunk) => chunk.choices[0]?.text).join("")).toBe(
      whole.choices[0]?.text as string,
    );
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe(
      whole.choices[0]?.finish_reason as "stop",
    );
  });

  it("lists and finds the model, and no other", async () => {
    const { client, target } = context();
    const models = await Array.fromAsync(client.models.list());
    expect(models.map(({ id }) => id)).toEqual([target.model]);
    expect((await client.models.retrieve(target.model)).object).toBe("model");
    const error = await rejection(client.models.retrieve("org/other"), NotFoundError);
    expect(error.code).toBe("model_not_found");
  });

  it("throws BadRequestError that names all bad fields", async () => {
    const { client, target } = context();
    const bad = { ...short, model: target.model, temperature: 9, top_p: -1 };
    for (const stream of [true, false]) {
      const answer = client.chat.completions.create({ ...bad, stream });
      const error = await rejection(answer, BadRequestError);
      expect(error).toMatchObject({
        status: 400,
        type: "invalid_request_error",
        param: "temperature",
        code: "invalid_request",
      });
      expect(error.message).toContain("top_p: expected a number from 0 to 1, got -1");
    }
  });
}

function openAiFaults(context: OpenAiContext): void {
  it("throws RateLimitError with a time to wait where there is no room", async () => {
    const { client, target } = context();
    faultsOf(target).overload();
    const answer = client.chat.completions.create({ model: target.model, ...short, stream: true });
    const error = await rejection(answer, RateLimitError);
    expect(error.code).toBe("overloaded");
    expect(Number(error.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  it("throws APIError where a stream breaks off", async () => {
    const { client, target } = context();
    faultsOf(target).breakOff();
    const request = { model: target.model, ...short, stream: true } as const;
    const stream = await client.chat.completions.create(request);
    const error = await rejection(Array.fromAsync(stream), APIError);
    expect(error).toMatchObject({ type: "server_error", code: "engine_error" });
  });
}

function openAiAborts(context: OpenAiContext): void {
  it("frees the generation where the loop is left", async () => {
    const { client, target } = context();
    const request = { model: target.model, ...long, stream: true } as const;
    for await (const chunk of await client.chat.completions.create(request)) {
      if (chunk.choices[0]?.delta.content) break;
    }
    await target.idle();
  });

  it("frees the generation where the signal is aborted in a stream", async () => {
    const { client, target } = context();
    const abort = new AbortController();
    const request = { model: target.model, ...long, stream: true } as const;
    const stream = await client.chat.completions.create(request, { signal: abort.signal });
    let chunks = 0;
    for await (const chunk of stream) {
      chunks++;
      if (chunk.choices[0]?.delta.content) abort.abort();
    }
    expect(chunks).toBeLessThan(long.max_tokens);
    await target.idle();
  });

  it("frees the generation where the signal is aborted before the answer", async () => {
    const { client, target } = context();
    const abort = new AbortController();
    const request = { model: target.model, ...long };
    const answer = client.chat.completions.create(request, { signal: abort.signal });
    const rejected = rejection(answer, APIUserAbortError);
    await target.busy();
    abort.abort();
    await rejected;
    await target.idle();
  });
}

const aiShort = { messages, maxOutputTokens: 8, temperature: 0, seed: 1, maxRetries: 0 };
const aiLong = {
  messages,
  maxOutputTokens: 1000,
  temperature: 0,
  maxRetries: 0,
  providerOptions: { sluice: { ignore_eos: true } },
};

function aiAnswers(context: AiContext): void {
  it("generateText() gets the text and the usage", async () => {
    const { model } = context();
    const { text, finishReason, usage } = await generateText({ model, ...aiShort });
    expect(text).not.toBe("");
    expect(FINISHES).toContain(finishReason);
    expect(usage.totalTokens).toBe(Number(usage.inputTokens) + Number(usage.outputTokens));
  });

  it("streamText() streams the same text", async () => {
    const { model } = context();
    const whole = await generateText({ model, ...aiShort });
    const stream = streamText({ model, ...aiShort });
    expect((await Array.fromAsync(stream.textStream)).join("")).toBe(whole.text);
    expect(await stream.finishReason).toBe(whole.finishReason);
    expect((await stream.usage).totalTokens).toBe(whole.usage.totalTokens as number);
  });

  it("throws APICallError for a bad field", async () => {
    const { model } = context();
    const answer = generateText({ model, ...aiShort, temperature: 9 });
    const error = await rejection(answer, APICallError);
    expect(error.statusCode).toBe(400);
    expect(error.message).toContain("temperature: expected a number from 0 to 2, got 9");
  });
}

function aiFaults(context: AiContext): void {
  it("throws a retryable APICallError where there is no room", async () => {
    const { model, target } = context();
    faultsOf(target).overload();
    const error = await rejection(generateText({ model, ...aiShort }), APICallError);
    expect(error).toMatchObject({ statusCode: 429, isRetryable: true });
  });

  it("gives an error part where a stream breaks off", async () => {
    const { model, target } = context();
    faultsOf(target).breakOff();
    const stream = streamText({ model, ...aiShort, onError: () => undefined });
    const parts = await Array.fromAsync(stream.fullStream);
    const errors = parts.filter((part) => part.type === "error");
    expect(errors.length).toBe(1);
    expect(JSON.stringify(errors[0])).toContain("the engine failed");
  });
}

function aiAborts(context: AiContext): void {
  it("frees the generation where the signal is aborted in a stream", async () => {
    const { model, target } = context();
    const abort = new AbortController();
    const stream = streamText({ model, ...aiLong, abortSignal: abort.signal });
    let isAborted = false;
    for await (const part of stream.fullStream) {
      if (part.type === "text-delta") abort.abort();
      if (part.type === "abort") isAborted = true;
    }
    expect(isAborted).toBe(true);
    await target.idle();
  });

  it("frees the generation where the signal is aborted before the answer", async () => {
    const { model, target } = context();
    const abort = new AbortController();
    const answer = generateText({ model, ...aiLong, abortSignal: abort.signal });
    const rejected = rejection(answer, Error);
    await target.busy();
    abort.abort();
    expect((await rejected).name).toBe("AbortError");
    await target.idle();
  });
}
