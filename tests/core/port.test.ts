import { describe, expect, test } from "bun:test";
import { type Port, serveCore } from "../../src/core/port.ts";
import type { CoreOptions, FromCore, SubmitMessage, ToCore } from "../../src/engine/protocol.ts";
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

const SUBMIT: SubmitMessage = {
  type: "submit",
  id: 0,
  tokens: Int32Array.of(504, 3575, 282, 4649, 314),
  n_sampled: 0,
  maxTokens: 1,
  endIds: [],
  sampling: Float64Array.of(0, 0, 1, 0, 1, 0, 0, 0),
  repeatLastN: 0,
  credit: 8,
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

  load(path: string, n_ctx = options.n_ctx): void {
    this.send({ type: "load", options: { ...options, path, n_ctx }, cancelled: new Int32Array(1) });
  }

  /** Waits for messages as long as a condition holds. */
  async while(condition: () => boolean): Promise<void> {
    while (condition()) await new Promise<void>((resolve) => this.#wake = resolve);
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

    peer.send({ ...SUBMIT, id: 9 });
    expect((await peer.until("admitted")).admitted).toEqual([[9, 0]]);
    const { sampled } = await peer.until("sampled");
    expect(sampled).toMatchObject([{ id: 9, finish: "length" }]);
    peer.send({ type: "stats" });
    expect((await peer.until("stats")).stats).toMatchObject({ running: 0, waiting: 0 });
    peer.send({ type: "close" });
    await peer.until("closed");
    expect(peer.closed).toBe(true);
  }, 60_000);

  test("gives the cache of a sequence that ended to the next", async () => {
    const peer = new Peer();
    peer.load(resolveModel("smollm2").path);
    await peer.until("ready");
    // Each takes the whole cache.
    const tokens = new Int32Array(60).fill(504);
    for (const id of [1, 2, 3]) peer.send({ ...SUBMIT, id, tokens });
    const sampled = () =>
      peer.received.flatMap((message) => message.type === "sampled" ? message.sampled : []);
    await peer.while(() => sampled().length < 3);
    expect(sampled().map(({ id }) => id)).toEqual([1, 2, 3]);
    peer.send({ type: "close" });
    await peer.until("closed");
  }, 60_000);

  test(
    "tells of each piece of a prompt but the last, where that is wanted",
    async () => {
      const peer = new Peer();
      peer.load(resolveModel("smollm2").path, 1024);
      await peer.until("ready");
      const tokens = new Int32Array(600).fill(504);
      peer.send({ ...SUBMIT, id: 1, tokens });
      peer.send({ ...SUBMIT, id: 2, tokens, tellsPrefill: true });
      peer.send({ ...SUBMIT, id: 3, tellsPrefill: true });
      const told = () =>
        peer.received.flatMap((message): { id: number; n_past?: number }[] => {
          if (message.type === "prefilled") return [message.prefilled];
          return message.type === "sampled" ? message.sampled.map(({ id }) => ({ id })) : [];
        });
      await peer.while(() => told().length < 4);
      expect(told()).toEqual([{ id: 1 }, { id: 2, n_past: 512 }, { id: 2 }, { id: 3 }]);
      peer.send({ type: "close" });
      await peer.until("closed");
    },
    60_000,
  );
});
