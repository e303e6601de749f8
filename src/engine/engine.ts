/**
 * Engine: the main side of a loaded model. Requests become token ids, ids of the core become
 * StreamEvents.
 *
 * Templates, tokenizing and text stay here; the core gets ids and options only. Demand drives
 * decoding: the core may sample at most `lookahead` tokens past the one that the reader took last.
 *
 * @module
 */
import type { ChatTemplate } from "../chat/template.ts";
import {
  ContextFullError,
  DisposedError,
  OverloadedError,
  RequestError,
  type SluiceError,
} from "../errors.ts";
import type { FinishReason, StreamEvent, TokenEvent } from "../stream/event.ts";
import { Detokenizer } from "../text/detokenizer.ts";
import { StopMatcher } from "../text/stop.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { Admission } from "./admission.ts";
import { Answer } from "./answer.ts";
import type { GenerateRequest, Generator, GeneratorLoad, ModelInfo } from "./generator.ts";
import { CoreHost, type CoreListener, type OnProgress } from "./host.ts";
import { Live } from "./live.ts";
import type { CoreInfo, CoreOptions, CoreStats, Sampled, SequenceChange } from "./protocol.ts";
import { samplingRecord, withSeed } from "./sampling.ts";
import type { Change, Steering } from "./steering.ts";

/** Limits of an engine. */
export interface EngineLimits {
  /** Requests that may wait beside those that run, see `Admission`. Default 32. */
  queueMax?: number;
  /**
   * Milliseconds without a refusal after which requests may wait again; 0 lets them wait at any
   * time. Default 5000.
   */
  queueCalmMs?: number;
  /** Tokens that are sampled ahead of the reader. Default 64. */
  lookahead?: number;
}

/** Fewer than the streams that one client may have running, so that the queue is what refuses. */
const QUEUE_MAX = 32;

/** What an engine is made of. */
export interface EngineParts {
  id: string;
  tokenizer: Tokenizer;
  /** Absent when the file has no template. */
  template: ChatTemplate | undefined;
  core: CoreOptions;
  limits: EngineLimits;
  onProgress?: OnProgress | undefined;
}

/** Runs the generations of one model. */
export class Engine implements Generator {
  readonly #parts: EngineParts;
  readonly #cancelled: Int32Array;
  readonly #live = new Map<number, Live>();
  readonly #admission: Admission;
  readonly #lookahead: number;
  readonly #created = Math.floor(Date.now() / 1000);
  #host!: CoreHost;
  #nextId = 1;
  #failure: SluiceError | undefined;
  #isClosed = false;

  private constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#cancelled = new Int32Array(
      new SharedArrayBuffer(parts.core.n_streams * Int32Array.BYTES_PER_ELEMENT),
    );
    const { queueMax = QUEUE_MAX, queueCalmMs, lookahead = 64 } = parts.limits;
    this.#admission = new Admission(parts.core.n_streams, queueMax, queueCalmMs);
    this.#lookahead = lookahead;
  }

  /**
   * Loads the core and gives the engine in front of it.
   *
   * @throws {GgufError | ModelError | LibraryError | EngineError}
   */
  static async load(parts: EngineParts): Promise<Engine> {
    const engine = new Engine(parts);
    const listener: CoreListener = {
      onAdmitted: (admitted) => engine.#onAdmitted(admitted),
      onSampled: (sampled) => engine.#onSampled(sampled),
      onPrefilled: ({ id, n_past }) => engine.#tellPrefill(id, n_past),
      onFailure: (error) => engine.#fail(error),
    };
    engine.#host = await CoreHost.load(
      parts.core,
      engine.#cancelled,
      listener,
      parts.onProgress,
    );
    return engine;
  }

  /** Name, context and vocabulary. */
  get model(): ModelInfo {
    return {
      id: this.#parts.id,
      created: this.#created,
      n_ctx: this.#host.info.n_ctx,
      n_vocab: this.#parts.tokenizer.n_vocab,
    };
  }

  /** What the core told when it was loaded. */
  get core(): CoreInfo {
    return this.#host.info;
  }

  /** What the core does at the moment. */
  stats(): Promise<CoreStats> {
    return this.#host.stats();
  }

  /** How busy it is now, as far as the core has told. */
  get load(): GeneratorLoad {
    const { n_streams, cacheBytes } = this.#host.info;
    const all = [...this.#live.values()];
    const running = all.filter(({ stream, ended }) => stream >= 0 && !ended).length;
    const waiting = all.filter(({ stream }) => stream < 0).length;
    return { slots: n_streams, running, waiting, cacheBytes };
  }

  /** Requests that run or wait. */
  get active(): number {
    return this.#live.size;
  }

  /** See `Generator.generate`. */
  async *generate(
    request: GenerateRequest,
    signal?: AbortSignal,
    steering?: Steering,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    const ids = this.#encode(request);
    const live = this.#submit(request, ids);
    const n_prompt = ids.length - (request.resume?.ids.length ?? 0);
    steering?.listen((change) => this.#steer(live, change));
    const onAbort = (): void => live.end({ cancelled: true });
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    try {
      yield { type: "start", replay: null, promptTokens: n_prompt };
      yield* this.#events(request, live, n_prompt);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#release(live);
    }
  }

  /** Ends every generation and frees the model. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#fail(new DisposedError("the model"));
    // A core that failed still holds its memory and its thread.
    await this.#host.close();
  }

  async *#events(
    request: GenerateRequest,
    live: Live,
    promptTokens: number,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    const { tokenizer } = this.#parts;
    const answer = new Answer(
      new Detokenizer(tokenizer),
      new StopMatcher(request.stop ?? []),
      live.admittedAt,
    );
    const { ids, seq } = request.resume ?? { ids: [], seq: 0 };
    let generated = ids.length;
    let firstAt = 0;
    let granted = generated + this.#lookahead;
    // What another process gave out is said again to nobody, but the text goes on from it.
    const again = ids.flatMap((id) => answer.push(id)).filter((event) => event.seq > seq);
    let finishReason = this.#endOf(request, answer, promptTokens + generated);
    yield* again;
    while (!finishReason) {
      const arrival = await live.next();
      if ("type" in arrival) {
        yield arrival;
        continue;
      }
      if ("error" in arrival) {
        const { code, message, hints } = arrival.error;
        yield { type: "error", code, message, hints: [...hints] };
        return;
      }
      let events: TokenEvent[] = [];
      if ("cancelled" in arrival) {
        finishReason = "cancelled";
      } else {
        generated += 1;
        firstAt ||= performance.now();
        // The end token is counted, not sent.
        if (arrival.finish !== "eos") events = answer.push(arrival.token);
        finishReason = answer.stopped ? "stop" : arrival.finish;
        if (granted - generated <= this.#lookahead / 2 && !finishReason) {
          granted = generated + this.#lookahead;
          this.#host.post({ type: "credit", id: live.id, upTo: granted });
        }
      }
      // Not by `yield*`: for an array that takes several promises more for each event.
      for (const event of events) yield event;
      if (finishReason) yield* answer.finish();
    }
    if (answer.stopped) finishReason = "stop";
    this.#release(live);
    const end = performance.now();
    yield { type: "usage", promptTokens, completionTokens: generated, cachedTokens: 0 };
    yield {
      type: "complete",
      finishReason,
      stats: {
        promptTokens,
        generatedTokens: generated,
        queueMs: (live.startedAt || end) - live.admittedAt,
        prefillMs: live.startedAt ? (firstAt || end) - live.startedAt : 0,
        decodeMs: firstAt ? end - firstAt : 0,
        totalMs: end - live.admittedAt,
      },
    };
  }

  /** Why nothing may follow what another process has sampled already. */
  #endOf(request: GenerateRequest, answer: Answer, n_tokens: number): FinishReason | undefined {
    const n_resumed = request.resume?.ids.length ?? 0;
    if (answer.stopped) return "stop";
    const isFull = n_tokens >= this.model.n_ctx || n_resumed >= (request.maxTokens ?? Infinity);
    return n_resumed > 0 && isFull ? "length" : undefined;
  }

  /** The ids to compute before one is sampled: the prompt, and what was sampled before. */
  #encode(request: GenerateRequest): Int32Array {
    const { tokenizer, template } = this.#parts;
    if ((request.prompt === undefined) === (request.messages === undefined)) {
      throw new RequestError(
        "Cannot start the generation: exactly one of prompt and messages is needed",
        [{ field: "prompt", message: "give either prompt or messages" }],
      );
    }
    let ids: number[];
    if (request.messages) {
      if (!template) {
        throw new RequestError(
          "Cannot start the generation: the model has no chat template, send a prompt instead of messages",
          [{ field: "messages", message: "the model has no chat template" }],
        );
      }
      const segments = template.render(request.messages, { addGenerationPrompt: true });
      ids = tokenizer.encodeSegments(segments);
    } else {
      ids = tokenizer.encode(request.prompt!, { addSpecial: true });
    }
    if (ids.length === 0) {
      throw new RequestError("Cannot start the generation: the prompt is empty", [
        { field: "prompt", message: "must give at least one token" },
      ]);
    }
    const { n_ctx, n_vocab } = this.model;
    if (ids.length >= n_ctx) throw new ContextFullError(ids.length, n_ctx);
    if (request.resume === undefined) return Int32Array.from(ids);
    const resumed = request.resume.ids;
    if (ids.length + resumed.length > n_ctx) {
      throw new ContextFullError(ids.length + resumed.length, n_ctx);
    }
    const stranger = resumed.find((id) => !Number.isInteger(id) || id < 0 || id >= n_vocab);
    if (stranger !== undefined) {
      throw new RequestError(
        `Cannot resume the generation: the id ${stranger} is not in the vocabulary of ${n_vocab}`,
        [{ field: "resume.ids", message: `expected integers from 0 to ${n_vocab - 1}` }],
      );
    }
    return Int32Array.from([...ids, ...resumed]);
  }

  #submit(request: GenerateRequest, tokens: Int32Array): Live {
    if (this.#failure) throw this.#failure;
    const now = performance.now();
    if (!this.#admission.takes(this.#live.size, now)) {
      throw new OverloadedError(
        `Cannot start the generation: ${this.#live.size} requests run or wait, expected fewer ` +
          `than ${this.#admission.most(now)}, try again later`,
        1,
        "overloaded",
        "queueMax",
      );
    }
    const live = new Live(this.#nextId++, withSeed(request.sampling), request.events);
    const sampling = samplingRecord(live.sampling);
    live.n_prompt = tokens.length;
    this.#live.set(live.id, live);
    this.#tellQueue();
    this.#host.post({
      type: "submit",
      id: live.id,
      tokens,
      n_sampled: request.resume?.ids.length ?? 0,
      maxTokens: request.maxTokens ?? this.model.n_ctx,
      endIds: request.ignoreEos ? [] : [...this.#parts.tokenizer.endIds],
      sampling,
      repeatLastN: request.sampling?.repeatLastN ?? 64,
      credit: (request.resume?.ids.length ?? 0) + this.#lookahead,
      tellsPrefill: live.wants("prefill"),
    });
    return live;
  }

  /** Changes a sequence; one that has ended stays as it is. */
  #steer(live: Live, { maxTokens, sampling }: Change): void {
    const change: SequenceChange = {};
    if (maxTokens !== undefined) change.maxTokens = maxTokens;
    if (sampling !== undefined) {
      const { seed } = live.sampling;
      live.sampling = { ...live.sampling, ...sampling, seed };
      change.sampling = samplingRecord(live.sampling);
      if (sampling.repeatLastN !== undefined) change.repeatLastN = sampling.repeatLastN;
    }
    this.#host.post({ type: "steer", id: live.id, change });
  }

  #onAdmitted(admitted: [id: number, stream: number][]): void {
    for (const [id, stream] of admitted) {
      const live = this.#live.get(id);
      if (!live) continue;
      live.stream = stream;
      live.startedAt = performance.now();
      this.#tellPrefill(id, 0);
    }
    this.#tellQueue();
  }

  #tellPrefill(id: number, computedTokens: number): void {
    const live = this.#live.get(id);
    live?.tell({ type: "prefill", totalTokens: live.n_prompt, cachedTokens: 0, computedTokens });
  }

  /** Tells the requests that wait for a stream how many are before them. */
  #tellQueue(): void {
    const all = [...this.#live.values()];
    const waiting = all.filter(({ stream }) => stream < 0);
    const running = all.filter(({ stream, ended }) => stream >= 0 && !ended).length;
    const free = this.#host.info.n_streams - running;
    for (const [i, live] of waiting.entries()) {
      if (i >= free) live.tell({ type: "queue", position: i - free + 1 });
    }
  }

  #onSampled(sampled: Sampled[]): void {
    for (const { id, token, finish } of sampled) this.#live.get(id)?.push(token, finish);
  }

  /** Forgets a sequence; the core drops it too if it still runs. */
  #release(live: Live): void {
    if (!this.#live.delete(live.id)) return;
    this.#tellQueue();
    if (live.ended || this.#failure) return;
    // The flag stops a running tick once all its sequences are cancelled; the message drops the
    // sequence after it.
    if (live.stream >= 0) Atomics.store(this.#cancelled, live.stream, 1);
    this.#host.post({ type: "cancel", id: live.id });
  }

  #fail(error: SluiceError): void {
    this.#failure ??= error;
    for (const live of this.#live.values()) live.end({ error });
  }
}
