/**
 * GenerationWatch: one generation from its request to its terminal event, for whoever measures it.
 *
 * It sees every token, so it does little with one: a clock, an addition, a bucket.
 *
 * @module
 */
import type { FinishReason, GenerationStats, StreamEvent } from "../stream/event.ts";
import type { GenerationRecord } from "./log.ts";
import type { ServerMetrics } from "./metrics.ts";
import { publicError } from "./public_error.ts";
import type { GenerationSpan } from "./tracing.ts";

/** What a watch writes to. */
export interface GenerationWatchParts {
  readonly metrics: ServerMetrics;
  /** Undefined where nobody traces. */
  readonly span: GenerationSpan | undefined;
  /** Id of the request that started it; undefined where none did. */
  readonly requestId: string | undefined;
  /** Tokens that another process has sampled before. */
  readonly resumedTokens: number;
  /** Told once, when a generation that has begun is over. */
  readonly onEnd: (record: GenerationRecord) => void;
}

/** One generation; see the module. */
export class GenerationWatch {
  readonly #parts: GenerationWatchParts;
  readonly #begunAt = performance.now();
  #askedAt = 0;
  #promptTokens = 0;
  #tokens = 0;
  #isOver = false;

  /** It begins now. */
  constructor(parts: GenerationWatchParts) {
    this.#parts = parts;
  }

  /** Takes the first step, under the span of the generation. */
  within<T>(run: () => T): T {
    const { span } = this.#parts;
    return span === undefined ? run() : span.within(run);
  }

  /** It has not begun and will not. */
  refused(thrown: unknown): void {
    this.#isOver = true;
    this.#parts.span?.refuse(publicError(thrown).code);
  }

  /** The generator has taken it. */
  begun(promptTokens: number): void {
    this.#promptTokens = promptTokens;
    this.#parts.metrics.promptBegun(promptTokens);
  }

  /** Somebody wants the next event. */
  asked(): void {
    this.#askedAt = performance.now();
  }

  /** An event has come. */
  event(event: StreamEvent): void {
    if (event.type === "token") this.#token(event.ids.length);
    else if (event.type === "usage") this.#parts.metrics.cached(event.cachedTokens);
    else if (event.type === "complete") this.#end(event.finishReason, event.stats);
    else if (event.type === "error") this.#end("error", undefined, event.code);
  }

  #token(n: number): void {
    const { metrics, span } = this.#parts;
    const now = performance.now();
    if (this.#tokens > 0) metrics.nextToken.observe((now - this.#askedAt) / 1000);
    else {
      metrics.firstToken.observe((now - this.#begunAt) / 1000);
      span?.firstToken();
    }
    this.#tokens += n;
    metrics.sampled(n);
  }

  /** Nobody wants any more of it. */
  over(): void {
    if (!this.#isOver) this.#end("cancelled", undefined);
  }

  #end(finishReason: FinishReason, stats: GenerationStats | undefined, code?: string): void {
    this.#isOver = true;
    const { metrics, span, requestId, resumedTokens, onEnd } = this.#parts;
    // The end token has no event of its own.
    const unseen = (stats?.generatedTokens ?? 0) - resumedTokens - this.#tokens;
    if (unseen > 0) {
      this.#tokens += unseen;
      metrics.sampled(unseen);
    }
    metrics.generationEnded(finishReason, stats);
    span?.end(finishReason, this.#promptTokens, this.#tokens, code);
    onEnd({
      ...(requestId !== undefined && { requestId }),
      finishReason,
      promptTokens: this.#promptTokens,
      tokens: this.#tokens,
      ms: Math.round(performance.now() - this.#begunAt),
    });
  }
}
