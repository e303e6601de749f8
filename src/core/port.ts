/**
 * The core behind a port: messages in, what it sampled out.
 *
 * Between ticks it lets the event loop run once, so that messages are seen; without work it sleeps.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { CoreError, FromCore, ToCore } from "../engine/protocol.ts";
import { SluiceError } from "../errors.ts";
import { Core } from "./core.ts";

/** What a Worker's global scope is. */
export interface Port {
  onmessage: ((event: MessageEvent<ToCore>) => void) | null;
  postMessage(message: FromCore): void;
  close(): void;
}

/** Runs a core for whoever is at the other end of the port. */
export function serveCore(port: Port): void {
  const server = new CoreServer(port);
  port.onmessage = ({ data }) => server.take(data);
}

class CoreServer {
  readonly #port: Port;
  #core: Core | undefined;
  #isRunning = false;
  #isClosing = false;

  constructor(port: Port) {
    this.#port = port;
  }

  take(message: ToCore): void {
    const core = this.#core;
    switch (message.type) {
      case "load":
        void this.#load(message);
        return;
      case "submit":
        core?.submit(message);
        break;
      case "credit":
        core?.credit(message.id, message.upTo);
        break;
      case "steer":
        core?.steer(message.id, message.change);
        break;
      case "cancel":
        core?.cancel(message.id);
        break;
      case "stats":
        if (core) this.#port.postMessage({ type: "stats", stats: core.stats });
        return;
      case "close":
        this.#isClosing = true;
        if (!this.#isRunning) this.#close();
        return;
    }
    void this.#run();
  }

  async #load({ options, cancelled }: Extract<ToCore, { type: "load" }>): Promise<void> {
    let told = 0;
    const onProgress = (loadedBytes: number, totalBytes: number): void => {
      if (loadedBytes - told < totalBytes / 100 && loadedBytes < totalBytes) return;
      told = loadedBytes;
      this.#port.postMessage({ type: "progress", loadedBytes, totalBytes });
    };
    try {
      this.#core = await Core.load(options, cancelled, onProgress);
      this.#port.postMessage({ type: "ready", info: this.#core.info });
      if (this.#isClosing) this.#close();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Ticks until nothing can run. */
  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      while (await this.#tick());
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isRunning = false;
    }
    if (this.#isClosing) this.#close();
  }

  /** One tick; false when nothing could run. */
  async #tick(): Promise<boolean> {
    await new Promise((resolve) => setImmediate(resolve));
    const core = this.#core;
    if (!core || this.#isClosing) return false;
    const admitted = core.admit();
    if (admitted.length > 0) this.#port.postMessage({ type: "admitted", admitted });
    const sampled = core.tick();
    if (sampled && sampled.length > 0) this.#port.postMessage({ type: "sampled", sampled });
    const { prefilled } = core;
    if (prefilled) this.#port.postMessage({ type: "prefilled", prefilled });
    return sampled !== undefined;
  }

  #close(): void {
    this.#core?.[Symbol.dispose]();
    this.#core = undefined;
    this.#port.postMessage({ type: "closed" });
    this.#port.close();
  }

  #fail(error: unknown): void {
    this.#port.postMessage({ type: "failed", error: toCoreError(error) });
  }
}

function toCoreError(error: unknown): CoreError {
  if (error instanceof SluiceError) {
    const { name, code, message, hints } = error;
    return { name, code, message, hints: [...hints] };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { name: "EngineError", code: "engine_error", message, hints: [] };
}
