/**
 * load: a model as users hold it, to generate with, to mount, or to give to an SDK.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { ChatTemplate } from "./chat/template.ts";
import { Engine, type EngineLimits } from "./engine/engine.ts";
import type { GenerateRequest, Generator, GeneratorLoad, ModelInfo } from "./engine/generator.ts";
import type { OnProgress } from "./engine/host.ts";
import type { CoreInfo, CoreStats } from "./engine/protocol.ts";
import type { Steering } from "./engine/steering.ts";
import { ModelError } from "./errors.ts";
import { readGguf } from "./gguf/reader.ts";
import { type Fetch, inProcessFetch } from "./server/fetch.ts";
import { createHandler } from "./server/handler.ts";
import { ServerLog } from "./server/log.ts";
import { resolveModel } from "./store/reference.ts";
import { StreamingConfig } from "./stream/config.ts";
import type { StreamEvent } from "./stream/event.ts";
import { type StreamResponse, streamResponses } from "./stream/response.ts";
import { createTokenizer } from "./text/tokenizer.ts";

/** How a model is loaded; every field has a default. */
export interface LoadOptions extends EngineLimits {
  /** Threads that compute. Default the processors of this machine. */
  threads?: number;
  /** Tokens that one sequence can hold. Default the longest context of the training. */
  ctxSize?: number;
  /** Sequences that run at once; more wait. Default 4. */
  parallel?: number;
  /**
   * Type of the cache's keys and values. Default f16; q8_0 takes a little more than half of that
   * and costs some accuracy.
   */
  cacheType?: "f16" | "f32" | "q8_0";
  /**
   * Computes the graph as it was recorded: no fused ops, no flash attention, no layouts of the
   * CPU's own. Slow; it is what the fast paths are compared with. Default false.
   */
  reference?: boolean;
  /**
   * Level of our kernels, such as `x86_64_v3`, for all models of the process; to measure, or to see
   * what another processor computes. Default the best that this one has.
   */
  kernelVariant?: string;
  /**
   * Folder that keeps weights as they were packed, about as many bytes as the model file. The next
   * start maps them instead, and processes with the same model share that memory. Default none is
   * kept.
   */
  packedDir?: string;
  /** Told while weights are read. */
  onProgress?: OnProgress;
}

/**
 * A loaded model. Dispose it when it is no longer needed: it holds a thread and the model's memory.
 */
export class Model implements Generator, AsyncDisposable {
  readonly #engine: Engine;
  #fetch: Fetch | undefined;

  /** Use `load`. */
  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Name, context and vocabulary. */
  get model(): ModelInfo {
    return this.#engine.model;
  }

  /** How the model was loaded. */
  get core(): CoreInfo {
    return this.#engine.core;
  }

  /** What the core does at the moment: sequences that run and wait, plans that are kept. */
  stats(): Promise<CoreStats> {
    return this.#engine.stats();
  }

  /** How busy the model is now. */
  get load(): GeneratorLoad {
    return this.#engine.load;
  }

  /** Requests that run or wait. */
  get active(): number {
    return this.#engine.active;
  }

  /**
   * Generates; a string is a raw prompt. Demand drives it: what nobody reads is not computed.
   *
   * @example
   * ```ts ignore
   * for await (const event of model.generate("The sky is")) {
   *   if (event.type === "token") console.log(event.text);
   * }
   * ```
   * @throws {RequestError | ContextFullError | OverloadedError} at the first `next()`
   */
  generate(
    request: string | GenerateRequest,
    signal?: AbortSignal,
    steering?: Steering,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    return this.#engine.generate(
      typeof request === "string" ? { prompt: request } : request,
      signal,
      steering,
    );
  }

  /**
   * Generates pieces of text with their token ids.
   *
   * @param options `generation` as in `GenerateRequest`; `streaming` groups tokens and sets
   * time-outs, by default one token each
   * @example
   * ```ts ignore
   * for await (const { text, tokenIds } of model.stream("The sky is")) console.log(text, tokenIds);
   * ```
   * @throws {RequestError | ContextFullError | OverloadedError | TokenTimeoutError}
   */
  stream(
    prompt: string,
    { generation = {}, streaming = new StreamingConfig({ bufferSize: 1, flushIntervalMs: 0 }) }: {
      generation?: Omit<GenerateRequest, "prompt" | "messages">;
      streaming?: StreamingConfig;
    } = {},
  ): AsyncGenerator<StreamResponse, void, undefined> {
    return streamResponses(this.generate({ ...generation, prompt }), streaming);
  }

  /** The model's HTTP routes as a `fetch`, for any SDK in this process: no port, no socket. */
  get fetch(): Fetch {
    return this.#fetch ??= inProcessFetch(createHandler(this));
  }

  /** Ends every generation and frees the model. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine.close();
  }
}

/**
 * Loads a model.
 *
 * @param ref a known name such as `smollm2`, or the path of a GGUF file
 * @throws {GgufError | ModelError | LibraryError | EngineError}
 */
export async function load(ref: string, options: LoadOptions = {}): Promise<Model> {
  const { path, id } = resolveModel(ref);
  const { ctxSize, parallel = 4, threads = availableParallelism(), reference = false } = options;
  positive("threads", threads);
  positive("parallel", parallel);
  if (ctxSize !== undefined) positive("ctxSize", ctxSize);
  const { metadata } = readGguf(path);
  const tokenizer = createTokenizer(metadata);
  const engine = await Engine.load({
    id,
    tokenizer,
    template: ChatTemplate.fromMetadata(metadata, tokenizer),
    core: {
      path,
      n_threads: threads,
      n_ctx: ctxSize ?? 0,
      n_streams: parallel,
      cacheType: options.cacheType ?? "f16",
      flashAttention: !reference,
      fused: !reference,
      repack: !reference,
      ...(options.kernelVariant !== undefined && { kernelVariant: options.kernelVariant }),
      ...(options.packedDir !== undefined && { packedDir: resolve(options.packedDir) }),
    },
    limits: options,
    onProgress: options.onProgress,
  });
  const { keepingFault } = engine.core;
  if (keepingFault !== undefined) new ServerLog().unkept(keepingFault);
  return new Model(engine);
}

function positive(name: string, value: number): void {
  if (Number.isInteger(value) && value > 0 && value < 2 ** 31) return;
  throw new ModelError(`Cannot load the model: ${name} is ${value}, expected an integer from 1 up`);
}
