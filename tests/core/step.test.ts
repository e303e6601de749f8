import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Scheduler } from "../../src/core/scheduler.ts";
import { Stepper } from "../../src/core/step.ts";
import type { SubmitMessage } from "../../src/engine/protocol.ts";
import { samplingRecord } from "../../src/engine/sampling.ts";
import type { Plan } from "../../src/ggml/backend.ts";
import { Library, type Native } from "../../src/ggml/library.ts";
import { type BatchShape, PlanCache } from "../../src/graph/plan.ts";
import { resolveModel } from "../../src/store/reference.ts";
import { writeWhole } from "../../tools/gguf_copy.ts";
import { type FileTypeName, openQuantizer, quantized } from "../../tools/quantize.ts";
import { DEFAULT, LogitsProbe } from "../support/logits_probe.ts";
import { tinyMixtral } from "../support/tiny_mixtral.ts";

const N_STREAMS = 8;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A request with a prompt and a seed of its own. */
function request(id: number, n_prompt: number, more: Partial<SubmitMessage> = {}): SubmitMessage {
  return {
    type: "submit",
    id,
    tokens: Int32Array.from({ length: n_prompt }, (_, i) => (id * 131 + i * 7919 + 3) % 512),
    n_sampled: 0,
    maxTokens: 4,
    endIds: [],
    sampling: samplingRecord({ temperature: 1, topK: 0, topP: 1, minP: 0, seed: id }),
    repeatLastN: 0,
    credit: 100,
    ...more,
  };
}

/** The core's ticks, on a clock that stands still: every short prompt has time. */
class Run implements Disposable {
  readonly scheduler: Scheduler;
  readonly stepper: Stepper;
  readonly cancelled = new Int32Array(N_STREAMS);
  /** The tokens of each sequence, each with a hash of the logits that it was drawn from. */
  readonly drawn = new Map<number, string[]>();
  /** The shapes of its passes, each once. */
  readonly shapes: BatchShape[] = [];
  readonly #probe: LogitsProbe;
  readonly #plans: PlanCache<Plan>;
  #hashes: string[] = [];

  constructor(probe: LogitsProbe, n_short: number) {
    this.#probe = probe;
    this.#plans = new PlanCache((shape) => {
      this.shapes.push(shape);
      return probe.plan(shape);
    }, 64 << 20);
    this.scheduler = new Scheduler({ n_streams: N_STREAMS, n_ctx: 512, tickMs: 1e6, n_short });
    const library = new Library(probe.library.path, this.#listening(probe.library.native));
    this.stepper = new Stepper(library, probe.cache, this.#plans, this.cancelled);
  }

  /** The functions, of which the sampler's tells what it reads. */
  #listening(native: Native): Native {
    const row = new Float32Array(this.#probe.hparams.n_vocab);
    const size = row.byteLength;
    return {
      ...native,
      sluice_sample: (logits, i, ...more) => {
        native.ggml_backend_tensor_get(logits, row, BigInt(i * size), BigInt(size));
        this.#hashes.push(createHash("sha1").update(row).digest("hex"));
        return native.sluice_sample(logits, i, ...more);
      },
    };
  }

  /** Runs a tick; false when nothing could run. */
  tick(): boolean {
    this.scheduler.admit();
    for (const { blocks } of this.scheduler.ended()) this.#probe.cache.release(blocks);
    const batch = this.scheduler.next();
    if (!batch) return false;
    this.#hashes = [];
    const { tokens } = this.stepper.run(batch)!;
    const sampled = this.scheduler.commit(batch, tokens, { sharedMs: 0, prefillMs: 0 });
    expect(this.#hashes.length).toBe(sampled.length);
    sampled.forEach(({ id, token }, i) => {
      this.drawn.set(id, [...this.drawn.get(id) ?? [], `${token} of ${this.#hashes[i]}`]);
    });
    return true;
  }

  /** Runs requests to their end: the first ones alone, and the others once they all decode. */
  all(first: readonly SubmitMessage[], others: readonly SubmitMessage[] = []): this {
    for (const message of first) this.scheduler.submit(message);
    if (others.length > 0) this.tick();
    for (const message of others) this.scheduler.submit(message);
    while (this.tick());
    this[Symbol.dispose]();
    return this;
  }

  [Symbol.dispose](): void {
    this.#plans[Symbol.dispose]();
  }
}

/** What requests draw with the machine to themselves, one after the other. */
function alone(probe: LogitsProbe, requests: readonly SubmitMessage[]): Run["drawn"] {
  return new Map(requests.flatMap((message) => [...new Run(probe, 0).all([message]).drawn]));
}

const LENGTHS = [1, 7, 8, 9, 16, 33, 64, 65];
const smollm2 = (): string => resolveModel("smollm2").path;

describe.each(["f16", "q8_0", "f32"] as const)("A shared pass over cells of %s", (cacheType) => {
  let probe: LogitsProbe;
  beforeAll(async () => {
    probe = await LogitsProbe.open(smollm2(), { ...DEFAULT, cacheType }, N_STREAMS);
  }, 60_000);
  afterAll(() => probe[Symbol.dispose]());

  test("draws from the same bits as prompts in passes of their own, or alone", () => {
    const requests = LENGTHS.map((n_prompt, i) => request(i + 1, n_prompt));
    const expected = alone(probe, requests);
    expect(new Run(probe, 64).all(requests).drawn).toEqual(expected);
    expect(new Run(probe, 0).all(requests).drawn).toEqual(expected);
    // Padded, and with a row of logits for the seven short ones: 138 tokens.
    const { shapes } = new Run(probe, 64).all(requests);
    expect(shapes[0]).toMatchObject({ n_tokens: 144, n_streams: 144, n_outputs: 8 });
  }, 60_000);

  test("draws from the same bits beside one that decodes, however much it is padded", () => {
    const decoding = request(20, 5, { maxTokens: 8 });
    const requests = LENGTHS.map((n_prompt, i) => request(i + 1, n_prompt));
    const expected = alone(probe, [...requests, decoding]);
    for (const message of requests) {
      const { drawn } = new Run(probe, 64).all([decoding], [message]);
      for (const { id } of [message, decoding]) expect(drawn.get(id)).toEqual(expected.get(id)!);
    }
  }, 60_000);

  test("reads the right rows where every token of it gives logits", () => {
    const decoding = [21, 22, 23, 24, 25].map((id) => request(id, 2, { maxTokens: 8 }));
    const requests = [...decoding, request(1, 2)];
    const run = new Run(probe, 64).all(decoding, [request(1, 2)]);
    expect(run.shapes).toContainEqual({ n_tokens: 8, n_streams: 8, n_blocks: 4, n_outputs: 8 });
    expect(run.drawn).toEqual(alone(probe, requests));
  }, 60_000);
});

describe.each(["q4_0", "q8_0", "q4_k_m", "q6_k"] as const satisfies FileTypeName[])(
  "A shared pass of a mixture of experts of %s",
  (type) => {
    test("draws from the same bits with any number of threads", async () => {
      const [wide, path] = [join(folder, `${type}-f32.gguf`), join(folder, `${type}.gguf`)];
      writeFileSync(wide, tinyMixtral({ name: "wide", n_layer: 2, n_embd: 256, n_ff: 256 }));
      await writeWhole(path, quantized(wide, type, await openQuantizer()));
      const requests = LENGTHS.map((n_prompt, i) => request(i + 1, n_prompt));
      let expected: Run["drawn"] | undefined;
      for (const n_threads of [1, 2, 3]) {
        using probe = await LogitsProbe.open(path, { ...DEFAULT, n_threads }, N_STREAMS);
        expected ??= alone(probe, requests);
        expect(new Run(probe, 64).all(requests).drawn).toEqual(expected);
        expect(new Run(probe, 64).all(requests.slice(0, 3), requests.slice(3)).drawn)
          .toEqual(expected);
      }
    }, 60_000);
  },
);

describe("Stepper", () => {
  test(
    "stops once all sequences of a tick are cancelled, those with short prompts too",
    async () => {
      using probe = await LogitsProbe.open(smollm2(), DEFAULT, N_STREAMS);
      using run = new Run(probe, 64);
      const { scheduler, stepper, cancelled } = run;
      for (const [id, n_prompt] of [[1, 5], [2, 6], [3, 100]] as const) {
        scheduler.submit(request(id, n_prompt));
      }
      scheduler.admit();
      const batch = scheduler.next()!;
      expect([batch.shorts.length, batch.prefill?.end]).toEqual([2, 100]);
      for (const running of [0, 1, 2]) {
        cancelled.fill(1)[running] = 0;
        expect(stepper.run(batch)?.tokens.length).toBe(3);
      }
      cancelled.fill(1);
      expect(stepper.run(batch)).toBeUndefined();
    },
    60_000,
  );
});
