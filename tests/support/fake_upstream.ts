/**
 * Upstreams for a relay: recorded streams of other servers, and a fetch that plays them on demand.
 *
 * @module
 */
import type { Fetch } from "../../src/relay/upstream.ts";

const block = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;
const DONE = "data: [DONE]\n\n";

/** As llama-server streams a chat: null content first, timings last, an empty comment as ping. */
export const LLAMA_CHAT: string = [
  ":\n\n",
  ...[
    { role: "assistant", content: null },
    { content: "Hel" },
    { content: "lo" },
    { content: " wörld 😀" },
  ].map((delta) =>
    block({
      choices: [{ finish_reason: null, index: 0, delta }],
      created: 1_764_000_000,
      id: "chatcmpl-1",
      model: "model.gguf",
      system_fingerprint: "b7000-0",
      object: "chat.completion.chunk",
    })
  ),
  block({
    choices: [{ finish_reason: "stop", index: 0, delta: {} }],
    created: 1_764_000_000,
    id: "chatcmpl-1",
    model: "model.gguf",
    object: "chat.completion.chunk",
  }),
  block({
    choices: [],
    id: "chatcmpl-1",
    object: "chat.completion.chunk",
    usage: {
      completion_tokens: 4,
      prompt_tokens: 12,
      total_tokens: 16,
      prompt_tokens_details: { cached_tokens: 5 },
    },
    timings: { prompt_n: 7, predicted_n: 4 },
  }),
  DONE,
].join("");

/** As vLLM streams a raw completion that a stop text has ended. */
export const VLLM_COMPLETION: string = [
  block({
    id: "cmpl-1",
    object: "text_completion",
    choices: [{ index: 0, text: " one", logprobs: null, finish_reason: null, stop_reason: null }],
    usage: null,
  }),
  block({
    id: "cmpl-1",
    object: "text_completion",
    choices: [{ index: 0, text: " two", logprobs: null, finish_reason: "stop", stop_reason: "." }],
    usage: null,
  }),
  block({
    id: "cmpl-1",
    object: "text_completion",
    choices: [],
    usage: { prompt_tokens: 3, total_tokens: 6, completion_tokens: 3 },
  }),
  DONE,
].join("");

/** One chunk of a chat. */
export function chatChunk(delta: object, finish_reason: string | null = null): string {
  return block({ choices: [{ index: 0, delta, finish_reason }] });
}

/** A fetch that plays what it was given, and what happened to it. */
export interface FakeUpstream {
  readonly fetch: Fetch;
  /** URL, headers and body of every request. */
  readonly requests: { url: string; headers: Headers; body: Record<string, unknown> }[];
  /** Pieces that were read. */
  pulled: number;
  /** Answers that were let go of before their end. */
  cancelled: number;
}

/** A piece of an answer, or something to wait for before the next one. */
export type Piece = string | Uint8Array | Promise<unknown> | Error;

/** Answers every request with these pieces; each is made when it is read, and no earlier. */
export function fakeUpstream(pieces: Iterable<Piece>, init: ResponseInit = {}): FakeUpstream {
  const encoder = new TextEncoder();
  const upstream: FakeUpstream = {
    requests: [],
    pulled: 0,
    cancelled: 0,
    fetch(url, { headers, body }) {
      const asked = JSON.parse(String(body)) as Record<string, unknown>;
      upstream.requests.push({ url, headers: new Headers(headers), body: asked });
      const rest = pieces[Symbol.iterator]();
      const answer = new ReadableStream<Uint8Array>({
        async pull(controller) {
          let step = rest.next();
          while (step.done !== true && step.value instanceof Promise) {
            await step.value;
            step = rest.next();
          }
          if (step.done === true) return controller.close();
          if (step.value instanceof Error) return controller.error(step.value);
          upstream.pulled++;
          const piece = step.value as string | Uint8Array;
          controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece);
        },
        cancel() {
          upstream.cancelled++;
        },
      }, { highWaterMark: 0 });
      const type = { "content-type": "text/event-stream" };
      return Promise.resolve(new Response(answer, { headers: type, ...init }));
    },
  };
  return upstream;
}

/** Refuses every request. */
export function refusingUpstream(
  status: number,
  body: unknown = {},
  headers: Record<string, string> = {},
): FakeUpstream {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return fakeUpstream([text], { status, headers });
}
