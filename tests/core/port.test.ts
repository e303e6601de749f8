import { describe, expect, test } from "bun:test";
import { type Port, serveCore } from "../../src/core/port.ts";
import type { CoreOptions, FromCore, ToCore } from "../../src/engine/protocol.ts";
import { resolveModel } from "../../src/store/reference.ts";

const options: CoreOptions = {
  path: "",
  n_threads: 1,
  n_ctx: 64,
  n_streams: 1,
  cacheType: "f16",
  flashAttention: true,
  fused: true,
  repack: true,
};

/** The other end of a port in this thread. */
class Peer {
  readonly received: FromCore[] = [];
  closed = false;
  readonly #port: Port;
  #wake: (() => void) | undefined;

  constructor() {
    this.#port = {
      onmessage: null,
      postMessage: (message) => {
        this.received.push(message);
        this.#wake?.();
      },
      close: () => {
        this.closed = true;
      },
    };
    serveCore(this.#port);
  }

  send(message: ToCore): void {
    this.#port.onmessage?.({ data: message } as MessageEvent<ToCore>);
  }

  load(path: string): void {
    this.send({ type: "load", options: { ...options, path }, cancelled: new Int32Array(1) });
  }

  async until<T extends FromCore["type"]>(type: T): Promise<Extract<FromCore, { type: T }>> {
    for (;;) {
      const found = this.received.find((m) => m.type === type);
      if (found) return found as Extract<FromCore, { type: T }>;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}

describe("serveCore", () => {
  test("says why a model cannot be loaded, with the class of the error", async () => {
    const peer = new Peer();
    peer.load("/no/such/model.gguf");
    const { error } = await peer.until("failed");
    expect(error).toMatchObject({ name: "GgufError", code: "invalid_gguf" });
    expect(error.message).toContain("/no/such/model.gguf");
  });

  test("loads with progress, runs a sequence to its end, and closes", async () => {
    const peer = new Peer();
    peer.load(resolveModel("smollm2").path);
    const { info } = await peer.until("ready");
    expect(info).toMatchObject({ n_ctx: 64, n_streams: 1, n_threads: 1 });
    const progress = peer.received.filter((m) => m.type === "progress");
    expect(progress.at(-1)).toMatchObject({ loadedBytes: progress.at(-1)!.totalBytes });

    peer.send({
      type: "submit",
      id: 9,
      tokens: Int32Array.of(504, 3575, 282, 4649, 314),
      n_sampled: 0,
      maxTokens: 1,
      endIds: [],
      sampling: Float64Array.of(0, 0, 1, 0, 1, 0, 0, 0),
      repeatLastN: 0,
      credit: 8,
    });
    expect((await peer.until("admitted")).admitted).toEqual([[9, 0]]);
    const { sampled } = await peer.until("sampled");
    expect(sampled).toMatchObject([{ id: 9, finish: "length" }]);
    peer.send({ type: "stats" });
    expect((await peer.until("stats")).stats).toMatchObject({ running: 0, waiting: 0 });
    peer.send({ type: "close" });
    await peer.until("closed");
    expect(peer.closed).toBe(true);
  }, 60_000);
});
