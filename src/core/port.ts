/**
 * The core behind a port: messages in, ticks, events out.
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

/** Runs a core behind a port. */
export function serveCore(port: Port): void {
  let core: Core | undefined;
  let running = false;
  let closing = false;

  const fail = (error: unknown): void => {
    port.postMessage({ type: "failed", error: toCoreError(error) });
  };

  const close = (): void => {
    core?.[Symbol.dispose]();
    core = undefined;
    port.postMessage({ type: "closed" });
    port.close();
  };

  const run = async (): Promise<void> => {
    if (running || !core) return;
    running = true;
    try {
      for (;;) {
        await eventLoopTurn();
        if (closing) return close();
        const admitted = core.admit();
        if (admitted.length > 0) port.postMessage({ type: "admitted", admitted });
        const sampled = core.tick();
        if (!sampled) return;
        if (sampled.length > 0) port.postMessage({ type: "sampled", sampled });
      }
    } catch (error) {
      fail(error);
    } finally {
      running = false;
    }
  };

  const load = async (message: Extract<ToCore, { type: "load" }>): Promise<void> => {
    try {
      let last = 0;
      core = await Core.load(message.options, message.cancelled, (loadedBytes, totalBytes) => {
        if (loadedBytes - last < totalBytes / 100 && loadedBytes < totalBytes) return;
        last = loadedBytes;
        port.postMessage({ type: "progress", loadedBytes, totalBytes });
      });
      port.postMessage({ type: "ready", info: core.info });
      if (closing) close();
    } catch (error) {
      fail(error);
    }
  };

  port.onmessage = ({ data }) => {
    switch (data.type) {
      case "load":
        void load(data);
        return;
      case "submit":
        core?.submit(data);
        break;
      case "credit":
        core?.credit(data.id, data.upTo);
        break;
      case "cancel":
        core?.cancel(data.id);
        break;
      case "stats":
        if (core) port.postMessage({ type: "stats", stats: core.stats });
        return;
      case "close":
        closing = true;
        if (!running) close();
        return;
    }
    void run();
  };
}

function toCoreError(error: unknown): CoreError {
  if (error instanceof SluiceError) {
    const { name, code, message, hints } = error;
    return { name, code, message, hints: [...hints] };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { name: "EngineError", code: "engine_error", message, hints: [] };
}

function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
