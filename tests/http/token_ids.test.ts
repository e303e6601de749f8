/** Ids of tokens on every way out, compared with what the core sampled, never with encoded text. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { load, type Model, StreamingConfig } from "../../mod.ts";
import { readGguf } from "../../src/gguf/reader.ts";
import { createHandler, type Handler } from "../../src/server/handler.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { parseFrames } from "../../src/stream/frame.ts";
import { parseSse } from "../../src/stream/sse.ts";
import { createTokenizer } from "../../src/text/tokenizer.ts";
import { get, post } from "../support/requests.ts";
import { overhear, type Overheard } from "../support/tapped_core.ts";

const PROMPT = "The three rivers are";
/** Hot enough for texts that no encoder would cut into tokens in the same way. */
const DRAWN = { prompt: PROMPT, temperature: 1.5, seed: 11, ignore_eos: true };

let model: Model;
let handler: Handler;
let sequences: readonly Overheard[];

beforeAll(async () => {
  const options = { parallel: 3, ctxSize: 1024 };
  [model, sequences] = await overhear(() => load("smollm2", options));
  handler = createHandler(model);
}, 60_000);
afterAll(() => model[Symbol.asyncDispose]());

/** A token as the native dialect sends it. */
interface Sent {
  token: string;
  token_id: number;
  position: number;
}

/** The tokens of a stream. */
async function sentIn(response: Response): Promise<Sent[]> {
  expect(response.status).toBe(200);
  const tokens: Sent[] = [];
  for await (const { event, data } of parseSse(response.body!)) {
    if (event === "token") tokens.push(JSON.parse(data!));
    expect(event).not.toBe("error");
  }
  return tokens;
}

const idsOf = (sent: readonly Sent[]): number[] => sent.map(({ token_id }) => token_id);
/** What the core sampled for the newest request. */
const sampled = (): readonly number[] => sequences.at(-1)!.sampled;

describe("Model.stream()", () => {
  test(
    "test_token_id_streaming: gives the ids that the core sampled, and all of the text",
    async () => {
      const generation = {
        maxTokens: 40,
        sampling: { temperature: 1.5, seed: 3 },
        ignoreEos: true,
      };
      const responses = await Array.fromAsync(model.stream(PROMPT, { generation }));
      const ids = responses.flatMap(({ tokenIds }) => tokenIds);
      expect(ids).toEqual([...sampled()]);
      expect(ids.length).toBe(40);
      const tokenizer = createTokenizer(readGguf(resolveModel("smollm2").path).metadata);
      const bytes = ids.flatMap((id) => [...tokenizer.bytes(id)]);
      expect(responses.map(({ text }) => text).join("")).toBe(
        new TextDecoder().decode(Uint8Array.from(bytes)),
      );
    },
    60_000,
  );

  test(
    "test_streaming_token_id_consistency: gives the same ids in groups, one by one, and again",
    async () => {
      const generation = {
        maxTokens: 23,
        sampling: { temperature: 1.5, seed: 5 },
        ignoreEos: true,
      };
      const configs = [
        StreamingConfig.lowLatency(),
        StreamingConfig.highThroughput(),
        new StreamingConfig({ bufferSize: 5, flushIntervalMs: 25 }),
        new StreamingConfig({ bufferSize: 5, flushIntervalMs: 60_000, tokenTimeoutMs: 0 }),
      ];
      const seen = new Set<string>();
      for (const streaming of configs) {
        const responses = await Array.fromAsync(model.stream(PROMPT, { generation, streaming }));
        const ids = responses.flatMap(({ tokenIds }) => tokenIds);
        expect(ids).toEqual([...sampled()]);
        expect(Math.max(...responses.map(({ tokenIds }) => tokenIds.length)))
          .toBeLessThanOrEqual(streaming.bufferSize);
        seen.add(ids.join());
      }
      expect(seen.size).toBe(1);
    },
    60_000,
  );
});

describe("POST /v1/stream", () => {
  test(
    "sse_token_ids_match_model_outputs: each event has the id that the core sampled",
    async () => {
      let differ = 0;
      const body = { ...DRAWN, temperature: 2, max_tokens: 80 };
      const tokenizer = createTokenizer(readGguf(resolveModel("smollm2").path).metadata);
      // Which texts are not written with the tokens that they would be encoded in depends on the
      // processor, whose bits decide what is sampled: about one in three.
      for (let seed = 1; seed <= 3 || (differ === 0 && seed <= 24); seed++) {
        const sent = await sentIn(await handler(post("/v1/stream", { ...body, seed })));
        expect(idsOf(sent)).toEqual([...sampled()]);
        expect(sent.map(({ position }) => position)).toEqual(sent.map((_, i) => i + 1));
        const encoded = tokenizer.encode(sent.map(({ token }) => token).join(""));
        if (encoded.join() !== idsOf(sent).join()) differ++;
      }
      // Ids that were made out of the text again would be others.
      expect(differ).toBeGreaterThan(0);
    },
    60_000,
  );

  test(
    "sse_token_ids_match_model_outputs: also where a stop text was held back and let go",
    async () => {
      const body = {
        ...DRAWN,
        max_tokens: 40,
        stop: ["e never", "a never", " the never", "s never"],
      };
      const sent = await sentIn(await handler(post("/v1/stream", body)));
      expect(idsOf(sent)).toEqual([...sampled()]);
      expect(sent.some(({ token }) => token === "")).toBe(true);
    },
    60_000,
  );

  test("test_concurrent_streams: streams of one batch keep their ids apart", async () => {
    const counts = [20, 24, 28, 32, 36, 40];
    const before = sequences.length;
    const all = await Promise.all(counts.map(async (max_tokens, i) => {
      const body = { ...DRAWN, prompt: `${PROMPT} ${i}`, seed: i, max_tokens };
      return await sentIn(await handler(post("/v1/stream", body)));
    }));
    const submitted = sequences.slice(before);
    expect(submitted.length).toBe(counts.length);
    for (const [i, count] of counts.entries()) {
      const own = submitted.find(({ maxTokens }) => maxTokens === count);
      expect(idsOf(all[i]!)).toEqual([...own!.sampled]);
      expect(all[i]!.length).toBe(count);
    }
    expect(new Set(all.map((sent) => idsOf(sent).slice(0, 20).join())).size).toBe(counts.length);
  }, 60_000);

  test(
    "test_streaming_token_id_consistency: other framings and later readers get the same ids",
    async () => {
      const response = await handler(post("/v1/stream", { ...DRAWN, max_tokens: 24 }));
      const id = response.headers.get("x-stream-id");
      const sent = await sentIn(response);
      const own = [...sampled()];
      expect(idsOf(sent)).toEqual(own);
      const before = sequences.length;
      expect(idsOf(await sentIn(await handler(get(`/v1/streams/${id}`))))).toEqual(own);
      const resumed = get(`/v1/streams/${id}`, { "last-event-id": `${id}:9` });
      expect(idsOf(await sentIn(await handler(resumed)))).toEqual(own.slice(9));
      const lines =
        await (await handler(get(`/v1/streams/${id}`, { accept: "application/x-ndjson" })))
          .text();
      expect([...lines.matchAll(/"token_id":(\d+)/g)].map(([, digits]) => Number(digits))).toEqual(
        own,
      );
      const binary = await handler(
        get(`/v1/streams/${id}`, { accept: "application/octet-stream" }),
      );
      const framed: number[] = [];
      for await (const { event } of parseFrames(binary.body!)) {
        if (event?.type === "token") framed.push(...event.ids);
      }
      expect(framed).toEqual(own);
      expect(sequences.length).toBe(before);
    },
    60_000,
  );
});
