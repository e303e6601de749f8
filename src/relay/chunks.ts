/**
 * Chunks: the event stream of an upstream as StreamEvents, one for each piece of text.
 *
 * @module
 */
import { OverloadedError, UpstreamError } from "../errors.ts";
import type {
  Channel,
  CompleteEvent,
  FinishReason,
  StreamEvent,
  UsageEvent,
} from "../stream/event.ts";
import { SseParser } from "../stream/sse.ts";
import { readRefusal, type UpstreamReader } from "./upstream.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Most bytes of a message whose end has not come; a hostile upstream sends no more. */
const MESSAGE_BYTES_MAX = 1 << 20;

const REASONS: Readonly<Record<string, FinishReason>> = {
  // One word for both there; `stop_reason` tells them apart where a server has it.
  stop: "eos",
  eos: "eos",
  length: "length",
  tool_calls: "tool_calls",
  function_call: "tool_calls",
  content_filter: "stop",
};

function object(value: unknown): Fields {
  return Object(value) as Fields;
}

function count(value: unknown): number {
  return Number.isSafeInteger(value) ? Number(value) : 0;
}

/** Settles after a time, or with the promise; what it rejects with is thrown. */
async function atMost(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const pause = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  try {
    await Promise.race([promise, pause]);
  } finally {
    clearTimeout(timer);
  }
}

/** Reads one answer of an upstream; see the module. */
export class Chunks {
  readonly #opening: Promise<UpstreamReader>;
  readonly #parser = new SseParser();
  readonly #startedAt = performance.now();
  /** Events that have arrived and that nobody has asked for yet. */
  #ready: StreamEvent[] = [];
  #pendingBytes = 0;
  #seq = 0;
  #firstMs = 0;
  #lastMs = 0;
  #isDone = false;
  /** What went wrong after the events that are ready. */
  #failure: UpstreamError | undefined;
  #finishReason: FinishReason | undefined;
  #usage: UsageEvent | undefined;

  /** @param opening the answer, when it has begun */
  constructor(opening: Promise<UpstreamReader>) {
    this.#opening = opening;
    // Whoever waits for it hears of it; nobody may wait any more.
    opening.catch(() => undefined);
  }

  /**
   * Waits until the upstream has taken the request, at most so long.
   *
   * @throws its refusal, where that comes in time
   */
  opened(withinMs: number): Promise<void> {
    return atMost(this.#opening, withinMs);
  }

  /**
   * The next token; undefined at the end.
   *
   * @throws UpstreamError where the upstream says an error, or ends without saying how
   */
  async next(): Promise<StreamEvent | undefined> {
    for (;;) {
      const event = this.#ready.shift();
      if (event !== undefined) return event;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#isDone) return undefined;
      const reader = await this.#opening;
      const bytes = await this.#read(reader);
      try {
        if (bytes === undefined) this.#end();
        else this.#push(bytes);
      } catch (thrown) {
        if (!(thrown instanceof UpstreamError)) throw thrown;
        this.#failure = thrown;
      }
    }
  }

  /** What ends the stream: how much was used, where the upstream said so, and how it went. */
  ending(isCancelled: boolean): StreamEvent[] {
    const usage = this.#usage;
    const complete: CompleteEvent = {
      type: "complete",
      finishReason: isCancelled ? "cancelled" : this.#finishReason ?? "eos",
      stats: {
        promptTokens: usage?.promptTokens ?? 0,
        generatedTokens: usage?.completionTokens ?? this.#seq,
        queueMs: 0,
        prefillMs: this.#firstMs,
        decodeMs: this.#lastMs - this.#firstMs,
        totalMs: performance.now() - this.#startedAt,
      },
    };
    return usage === undefined ? [complete] : [usage, complete];
  }

  async #read(reader: UpstreamReader): Promise<Uint8Array | undefined> {
    try {
      return await reader.read();
    } catch (cause) {
      // All that is missing is what was used.
      if (this.#finishReason !== undefined) return undefined;
      const what = cause instanceof OverloadedError ? "fell silent" : "was cut off";
      throw new UpstreamError(`Cannot go on with the generation: the upstream ${what}`, { cause });
    }
  }

  #end(): void {
    this.#isDone = true;
    if (this.#finishReason !== undefined) return;
    throw new UpstreamError(
      "Cannot finish the generation: the upstream ended its stream without saying how",
    );
  }

  #push(bytes: Uint8Array): void {
    const messages = this.#parser.push(bytes);
    this.#pendingBytes = messages.length > 0 ? 0 : this.#pendingBytes + bytes.length;
    if (this.#pendingBytes > MESSAGE_BYTES_MAX) {
      throw new UpstreamError(
        `Cannot go on with the generation: the upstream sent a message of more than ` +
          `${MESSAGE_BYTES_MAX} bytes`,
      );
    }
    for (const { event = "", data = "" } of messages) {
      if (this.#isDone) return;
      // Named events are other servers' own; only an error is for everybody.
      if (data === "" || (event !== "" && event !== "message" && event !== "error")) continue;
      if (data === "[DONE]") {
        this.#isDone = true;
        this.#finishReason ??= "eos";
      } else this.#take(data, event === "error");
    }
  }

  #take(data: string, isError: boolean): void {
    let chunk: Fields;
    try {
      chunk = object(JSON.parse(data));
    } catch (cause) {
      if (!isError) {
        throw new UpstreamError(
          "Cannot go on with the generation: the upstream sent a message that is not JSON",
          { cause },
        );
      }
      chunk = {};
    }
    if (isError || (chunk["error"] ?? null) !== null) {
      const { message } = readRefusal(data);
      throw new UpstreamError(
        `Cannot finish the generation: the upstream failed: ${message || "it does not say why"}`,
      );
    }
    if ((chunk["usage"] ?? null) !== null) this.#takeUsage(object(chunk["usage"]));
    const choices = chunk["choices"];
    if (Array.isArray(choices) && choices.length > 0) this.#takeChoice(object(choices[0]));
  }

  #takeUsage(usage: Fields): void {
    this.#usage = {
      type: "usage",
      promptTokens: count(usage["prompt_tokens"]),
      completionTokens: count(usage["completion_tokens"]),
      cachedTokens: count(object(usage["prompt_tokens_details"])["cached_tokens"]),
    };
  }

  #takeChoice(choice: Fields): void {
    const delta = object(choice["delta"]);
    // Some servers say the same by both names.
    this.#say(delta["reasoning_content"] ?? delta["reasoning"], "reasoning");
    // Raw completions have no delta.
    this.#say(delta["content"] ?? choice["text"], "content");
    const reason = choice["finish_reason"];
    if (typeof reason !== "string" || reason === "") return;
    const known = REASONS[reason] ?? "eos";
    this.#finishReason = typeof choice["stop_reason"] === "string" ? "stop" : known;
  }

  #say(text: unknown, channel: Channel): void {
    if (typeof text !== "string" || text === "") return;
    const timeMs = performance.now() - this.#startedAt;
    if (this.#seq === 0) this.#firstMs = timeMs;
    this.#lastMs = timeMs;
    const seq = ++this.#seq;
    this.#ready.push({ type: "token", seq, ids: [], text, timeMs, choice: 0, channel });
  }
}
