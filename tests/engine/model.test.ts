import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import {
  ContextFullError,
  type GenerateRequest,
  load,
  type Model,
  OverloadedError,
  RequestError,
  Steering,
  type StreamEvent,
  StreamingConfig,
} from "../../mod.ts";
import { best } from "../support/best.ts";

const greedy = { temperature: 0 };
const endless: GenerateRequest = { prompt: "Once upon a time", sampling: greedy, ignoreEos: true };

let model: Model;
beforeAll(async () => {
  const limits = { queueMax: 2, queueCalmMs: 0, lookahead: 32 };
  model = await load("smollm2", { parallel: 2, ctxSize: 2048, ...limits });
}, 60_000);
afterAll(async () => {
  await model[Symbol.asyncDispose]();
});

async function collect(request: GenerateRequest, signal?: AbortSignal): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  for await (const event of model.generate(request, signal)) events.push(event);
  return events;
}

const ids = (events: StreamEvent[]): number[] =>
  events.flatMap((e) => (e.type === "token" ? e.ids : []));
const text = (events: StreamEvent[]): string =>
  events.map((e) => (e.type === "token" ? e.text : "")).join("");
const reason = (events: StreamEvent[]): string | undefined => {
  const last = events.at(-1);
  return last?.type === "complete" ? last.finishReason : last?.type;
};

/** Waits until the core has forgotten every sequence and returns the milliseconds that it took. */
async function untilIdle(): Promise<number> {
  const start = performance.now();
  for (;;) {
    const { running, waiting } = await model.stats();
    if (running + waiting === 0) return performance.now() - start;
    await sleep(1);
  }
}

describe("Model.generate() with resume", () => {
  const drawn: GenerateRequest = {
    prompt: "The three rivers are",
    maxTokens: 24,
    sampling: { temperature: 0.9, seed: 7 },
  };
  const rest = (events: StreamEvent[], seq: number): unknown[] =>
    events.flatMap((e) => (e.type === "token" && e.seq > seq ? [[e.seq, e.ids, e.text]] : []));

  test("goes on from any token as if nothing had happened", async () => {
    const whole = await collect(drawn);
    const n = ids(whole).length;
    for (const seq of [0, 1, Math.floor(n / 2), n - 1]) {
      const resumed = await collect({ ...drawn, resume: { ids: ids(whole).slice(0, seq), seq } });
      expect(resumed[0]).toEqual(whole[0]!);
      expect(rest(resumed, 0)).toEqual(rest(whole, seq));
      expect(resumed.at(-2)).toEqual(whole.at(-2)!);
      expect(reason(resumed)).toBe(reason(whole)!);
    }
  });

  test("samples nothing where everything has been sampled", async () => {
    const whole = await collect({ ...endless, maxTokens: 6 });
    const resume = { ids: ids(whole), seq: 6 };
    const resumed = await collect({ ...endless, maxTokens: 6, resume });
    expect(resumed.map((e) => e.type)).toEqual(["start", "usage", "complete"]);
    expect(reason(resumed)).toBe("length");
    const stop = [text(whole).trim().split(" ").at(-1)!];
    expect(reason(await collect({ ...endless, maxTokens: 9, stop, resume }))).toBe("stop");
    await untilIdle();
  });
});

describe("Model.stream()", () => {
  test("gives the ids that the engine sampled, in groups that lose none", async () => {
    const generation: GenerateRequest = { sampling: greedy, maxTokens: 17 };
    const whole = await collect({ ...generation, prompt: "The sky is" });
    const streaming = new StreamingConfig({ bufferSize: 4, flushIntervalMs: 10_000 });
    const all = await Array.fromAsync(model.stream("The sky is", { generation, streaming }));
    expect(all.flatMap(({ tokenIds }) => tokenIds)).toEqual(ids(whole));
    expect(all.map((response) => response.text).join("")).toBe(text(whole));
    expect(all[0]?.tokenIds.length).toBe(4);
    const single = await Array.fromAsync(model.stream("The sky is", { generation }));
    expect(single.map(({ tokenIds }) => tokenIds.length)).toEqual(ids(whole).map(() => 1));
  });
});

describe("Model.generate() with steering", () => {
  test("changes how many tokens come and how they are drawn, from now on", async () => {
    const steering = new Steering();
    const events = model.generate({ ...endless, maxTokens: 40 }, undefined, steering);
    const seen: StreamEvent[] = [];
    for await (const event of events) {
      seen.push(event);
      if (event.type === "start") steering.change({ maxTokens: 90, sampling: { topK: 1 } });
    }
    expect(ids(seen).length).toBe(90);
    expect(reason(seen)).toBe("length");
    expect(() => steering.change({ sampling: { temperature: -1 } })).toThrow("temperature");
  });
});

describe("Model.generate", () => {
  test("gives start, tokens from 1 up, usage and one complete", async () => {
    const events = await collect({ ...endless, maxTokens: 5 });
    expect(events.map((e) => e.type)).toEqual([
      "start",
      ...Array(5).fill("token"),
      "usage",
      "complete",
    ]);
    expect(events.flatMap((e) => (e.type === "token" ? e.seq : []))).toEqual([1, 2, 3, 4, 5]);
    expect(events.at(-2)).toMatchObject({ promptTokens: 4, completionTokens: 5 });
    expect(reason(events)).toBe("length");
  }, 30_000);

  test(
    "takes messages through the template and ends at the end token, which is counted and not sent",
    async () => {
      const messages = [{ role: "user", content: "What is the capital of France? One word." }];
      const events = await collect({ messages, sampling: greedy, maxTokens: 200 });
      expect(reason(events)).toBe("eos");
      expect(text(events)).toMatch(/\p{L}{3}/u);
      expect(text(events)).not.toContain("<|im_end|>");
      expect(events.at(-2)).toMatchObject({ completionTokens: ids(events).length + 1 });
    },
    30_000,
  );

  test("gives the same tokens for the same seed and others for another", async () => {
    const request = {
      prompt: "Random words:",
      maxTokens: 24,
      sampling: { temperature: 1.5, topK: 0 },
    };
    const run = async (seed: number) =>
      ids(await collect({ ...request, sampling: { ...request.sampling, seed } }));
    const first = await run(1);
    expect(await run(1)).toEqual(first);
    expect(await run(2)).not.toEqual(first);
  }, 30_000);

  test("ends before a stop string that spans tokens", async () => {
    const whole = text(await collect({ ...endless, maxTokens: 30 }));
    const stop = whole.slice(20, 29);
    const events = await collect({ ...endless, maxTokens: 30, stop: ["never there", stop] });
    expect(reason(events)).toBe("stop");
    expect(text(events)).toBe(whole.slice(0, whole.indexOf(stop)));
  }, 30_000);

  test("has length as the reason when the context is full", async () => {
    const prompt = "word ".repeat(2030);
    const events = await collect({ prompt, sampling: greedy, ignoreEos: true });
    expect(reason(events)).toBe("length");
    const usage = events.at(-2);
    expect(usage?.type === "usage" && usage.promptTokens + usage.completionTokens).toBe(2048);
  }, 60_000);

  test("refuses a prompt that does not fit, an empty one, and none or two of them", async () => {
    const refused = async (request: GenerateRequest) => {
      try {
        await collect(request);
      } catch (error) {
        return error;
      }
    };
    expect(await refused({ prompt: "word ".repeat(3000) })).toBeInstanceOf(ContextFullError);
    expect(await refused({ prompt: "" })).toBeInstanceOf(RequestError);
    expect(await refused({})).toBeInstanceOf(RequestError);
    expect(await refused({ prompt: "a", messages: [] })).toBeInstanceOf(RequestError);
    expect(model.active).toBe(0);
  });

  test("runs several requests at once, each with the tokens that it has alone", async () => {
    const prompts = ["The sea is", "In the year 1900", "Two plus two", "My favourite"];
    const request = (prompt: string) => ({
      prompt,
      sampling: greedy,
      maxTokens: 4,
      ignoreEos: true,
    });
    const alone: number[][] = [];
    for (const prompt of prompts) alone.push(ids(await collect(request(prompt))));
    const together = await Promise.all(prompts.map(async (p) => ids(await collect(request(p)))));
    expect(together).toEqual(alone);
  }, 30_000);

  test("refuses a request when as many wait as may, and takes it later", async () => {
    const abort = new AbortController();
    const runs = Array.from({ length: 4 }, () => collect(endless, abort.signal));
    await expect(collect(endless)).rejects.toThrow(OverloadedError);
    abort.abort();
    expect((await Promise.all(runs)).map(reason)).toEqual(Array(4).fill("cancelled"));
    expect(reason(await collect({ ...endless, maxTokens: 1 }))).toBe("length");
  }, 30_000);

  test(
    "pauses when nobody reads: no more tokens, no processor time, and it goes on where it was",
    async () => {
      const expected = ids(await collect({ ...endless, maxTokens: 80 }));
      const events = model.generate({ ...endless, maxTokens: 80 });
      const got: StreamEvent[] = [];
      for (let i = 0; i < 4; i++) got.push((await events.next()).value as StreamEvent);
      let before = process.cpuUsage();
      for (;;) {
        await sleep(200);
        const { user, system } = process.cpuUsage(before);
        // Still sampling ahead, or the runtime's own housekeeping.
        if ((user + system) / 1000 < 20) break;
        before = process.cpuUsage();
      }
      expect((await model.stats()).running).toBe(1);
      for await (const event of events) got.push(event);
      expect(ids(got)).toEqual(expected);
    },
    30_000,
  );
});

describe("A cancelled generation", () => {
  test("is freed within 50 ms while it decodes, by return() and by its signal", async () => {
    const returned = async () => {
      const events = model.generate(endless);
      for (let i = 0; i < 3; i++) await events.next();
      await events.return();
      return untilIdle();
    };
    const aborted = async () => {
      const abort = new AbortController();
      const events = model.generate(endless, abort.signal);
      for (let i = 0; i < 3; i++) await events.next();
      abort.abort();
      return untilIdleAfter(events);
    };
    expect(await best(returned)).toBeLessThan(50);
    expect(await best(aborted)).toBeLessThan(50);
  }, 60_000);

  test("is freed within 50 ms in the middle of a long prompt", async () => {
    const once = async () => {
      const abort = new AbortController();
      const events = model.generate({ ...endless, prompt: "word ".repeat(2000) }, abort.signal);
      await events.next();
      const waiting = events.next();
      while ((await model.stats()).running === 0) await sleep(1);
      abort.abort();
      expect((await waiting).value).toMatchObject({ type: "usage" });
      return untilIdleAfter(events);
    };
    expect(await best(once)).toBeLessThan(50);
  }, 60_000);

  test("leaves the queue within 50 ms while it waits", async () => {
    const once = async () => {
      const abort = new AbortController();
      const running = [collect(endless, abort.signal), collect(endless, abort.signal)];
      while ((await model.stats()).running < 2) await sleep(1);
      const waits = new AbortController();
      const queued = collect(endless, waits.signal);
      while ((await model.stats()).waiting < 1) await sleep(1);
      waits.abort();
      const start = performance.now();
      while ((await model.stats()).waiting > 0) await sleep(1);
      const milliseconds = performance.now() - start;
      expect(reason(await queued)).toBe("cancelled");
      abort.abort();
      await Promise.all(running);
      return milliseconds;
    };
    expect(await best(once)).toBeLessThan(50);
  }, 60_000);

  test("leaves nothing behind, a thousand times", async () => {
    const once = async (i: number) => {
      const abort = new AbortController();
      const events = model.generate({ ...endless, prompt: `Number ${i}` }, abort.signal);
      await events.next();
      if (i % 3 === 0) await events.next();
      abort.abort();
      if (i % 2 === 0) await events.return();
      else {for await (const event of events) {
          if (event.type === "error") throw new Error(event.message);
        }}
    };
    for (let i = 0; i < 250; i++) await once(i);
    await untilIdle();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 1000; i++) await once(i);
    await untilIdle();
    expect(model.active).toBe(0);
    expect(process.memoryUsage().rss - before).toBeLessThan(48 << 20);
  }, 300_000);
});

describe("A disposed model", () => {
  test("ends what runs with an error event and refuses what comes", async () => {
    const own = await load("smollm2", { parallel: 1, ctxSize: 256 });
    const events = own.generate(endless);
    await events.next();
    await events.next();
    await own[Symbol.asyncDispose]();
    const rest: StreamEvent[] = [];
    for await (const event of events) rest.push(event);
    expect(rest).toMatchObject([{ type: "error", code: "disposed" }]);
    await expect(own.generate(endless).next()).rejects.toThrow("disposed");
  }, 60_000);
});

async function untilIdleAfter(events: AsyncGenerator<StreamEvent>): Promise<number> {
  const start = performance.now();
  for await (const event of events) if (event.type === "error") throw new Error(event.message);
  await untilIdle();
  return performance.now() - start;
}
