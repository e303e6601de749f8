/**
 * What crosses between an engine and its core, overheard: the ids as the core sampled them, before
 * any of our text, events or wire languages has seen them.
 *
 * @module
 */
import type { FromCore, ToCore } from "../../src/engine/protocol.ts";

/** One sequence that an engine submitted. */
export interface Overheard {
  readonly maxTokens: number;
  readonly prompt: readonly number[];
  /** In the order in which they were sampled, without an end token. */
  readonly sampled: number[];
}

/** Overhears the cores that are started by `start`. */
export async function overhear<T>(start: () => Promise<T>): Promise<[T, readonly Overheard[]]> {
  const sequences: Overheard[] = [];
  const byId = new Map<number, Overheard>();
  const Original = globalThis.Worker;
  class TappedWorker extends Original {
    constructor(url: string | URL, options?: WorkerOptions) {
      super(url, options);
      this.addEventListener("message", (event) => {
        const message = (event as MessageEvent<FromCore>).data;
        if (message.type !== "sampled") return;
        for (const { id, token, finish } of message.sampled) {
          if (finish !== "eos") byId.get(id)?.sampled.push(token);
        }
      });
    }

    override postMessage(message: ToCore): void {
      if (message.type === "submit") {
        const { id, maxTokens, tokens } = message;
        const sequence = { maxTokens, prompt: [...tokens], sampled: [] };
        byId.set(id, sequence);
        sequences.push(sequence);
      }
      super.postMessage(message);
    }
  }
  globalThis.Worker = TappedWorker as typeof Original;
  try {
    return [await start(), sequences];
  } finally {
    globalThis.Worker = Original;
  }
}
