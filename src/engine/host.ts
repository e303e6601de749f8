/**
 * CoreHost: starts the core in a Worker and carries messages to it.
 *
 * @module
 */
import { EngineError, GgufError, LibraryError, ModelError, type SluiceError } from "../errors.ts";
import type {
  CoreError,
  CoreInfo,
  CoreOptions,
  CoreStats,
  FromCore,
  Prefilled,
  Sampled,
  ToCore,
} from "./protocol.ts";

/** Told while weights are read. */
export type OnProgress = (loadedBytes: number, totalBytes: number) => void;

/** What the core says after it was loaded. */
export interface CoreListener {
  onAdmitted(admitted: [id: number, stream: number][]): void;
  onSampled(sampled: Sampled[]): void;
  onPrefilled(prefilled: Prefilled): void;
  /** The core is gone; nothing will come from it any more. */
  onFailure(error: SluiceError): void;
}

/** A core in a Worker of its own. */
export class CoreHost {
  readonly info: CoreInfo;
  readonly #worker: Worker;
  readonly #closed: Promise<void>;
  readonly #questions: ((stats: CoreStats) => void)[] = [];

  private constructor(worker: Worker, info: CoreInfo, closed: Promise<void>) {
    this.#worker = worker;
    this.info = info;
    this.#closed = closed;
  }

  /**
   * Starts the Worker and loads the model in it.
   *
   * @throws {GgufError | ModelError | LibraryError | EngineError}
   */
  static load(
    options: CoreOptions,
    cancelled: Int32Array,
    listener: CoreListener,
    onProgress?: OnProgress,
  ): Promise<CoreHost> {
    const worker = new Worker(new URL("../core/worker.ts", import.meta.url), { type: "module" });
    return new Promise((resolve, reject) => {
      let host: CoreHost | undefined;
      const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
      const fail = (error: SluiceError): void => {
        onClosed();
        if (host) return listener.onFailure(error);
        worker.terminate();
        reject(error);
      };
      worker.onmessage = ({ data }: MessageEvent<FromCore>) => {
        switch (data.type) {
          case "progress":
            return onProgress?.(data.loadedBytes, data.totalBytes);
          case "ready":
            host = new CoreHost(worker, data.info, closed);
            return resolve(host);
          case "admitted":
            return listener.onAdmitted(data.admitted);
          case "sampled":
            return listener.onSampled(data.sampled);
          case "prefilled":
            return listener.onPrefilled(data.prefilled);
          case "failed":
            return fail(fromCoreError(data.error));
          case "stats":
            return host!.#questions.shift()?.(data.stats);
          case "closed":
            return onClosed();
        }
      };
      worker.onerror = (event: ErrorEvent) => {
        event.preventDefault();
        fail(new EngineError(`Cannot run the model: its worker stopped: ${event.message}`));
      };
      worker.postMessage({ type: "load", options, cancelled } satisfies ToCore);
    });
  }

  /** Sends a message to the core. */
  post(message: ToCore): void {
    this.#worker.postMessage(message);
  }

  /** What the core does at the moment, between two ticks. */
  stats(): Promise<CoreStats> {
    return new Promise((resolve) => {
      this.#questions.push(resolve);
      this.post({ type: "stats" });
    });
  }

  /** Ends the core and frees all that it holds. Resolves when its memory is free. */
  async close(): Promise<void> {
    this.post({ type: "close" });
    await this.#closed;
    this.#worker.terminate();
  }
}

function fromCoreError({ name, code, message, hints }: CoreError): SluiceError {
  switch (name) {
    case "GgufError":
      return new GgufError(message, "", undefined, 0);
    case "ModelError":
      return new ModelError(message, { hints });
    case "LibraryError":
      return new LibraryError(message, { hints });
    default:
      return new EngineError(message, { hints, cause: code });
  }
}
