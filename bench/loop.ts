/**
 * Sluice in one process that generates in three ways, for core.ts: as ticks of the core, as
 * `model.generate()`, and as a server. Asked by lines of JSON; the first line out is its URL.
 *
 * usage: loop.ts MODEL.gguf THREADS STREAMS
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { createHandler, load, type Model } from "../mod.ts";
import { Core } from "../src/core/core.ts";
import { samplingRecord } from "../src/engine/sampling.ts";
import type { RunningServer, ServeOptions } from "../src/server/adapters/server.ts";
import type { AnswerLine, AskLine } from "./line_contender.ts";

const CONTEXT_TOKENS = 2048;
/** Any ids will do where no text is made. */
const PROMPT_IDS = Int32Array.from({ length: 16 }, (_, index) => 1000 + index);

type Way = (ask: AskLine) => AnswerLine | Promise<AnswerLine>;

/** Generates by the core alone: no Worker, no tokenizer, no text. */
function tick(core: Core, { prompts, max_tokens }: AskLine): AnswerLine {
  const times: number[] = [];
  const sent = performance.now();
  for (const id of prompts.keys()) {
    core.submit({
      type: "submit",
      id,
      tokens: PROMPT_IDS,
      n_sampled: 0,
      maxTokens: max_tokens,
      endIds: [],
      sampling: samplingRecord({ temperature: 0 }),
      repeatLastN: 0,
      credit: max_tokens,
    });
  }
  core.admit();
  for (let sampled = core.tick(); sampled !== undefined; sampled = core.tick()) {
    for (const _ of sampled) times.push(performance.now() - sent);
  }
  return answerLine(PROMPT_IDS.length * prompts.length, times);
}

/** Generates as a program does that embeds sluice. */
async function generate(model: Model, { prompts, max_tokens }: AskLine): Promise<AnswerLine> {
  const times: number[] = [];
  let promptTokens = 0;
  const sent = performance.now();
  await Promise.all(prompts.map(async (prompt) => {
    const sampling = { temperature: 0 };
    const request = { prompt, maxTokens: max_tokens, ignoreEos: true, sampling };
    for await (const event of model.generate(request)) {
      if (event.type === "start") promptTokens += event.promptTokens;
      if (event.type === "token") {
        // Several ids come together where text was held back.
        for (const _ of event.ids) times.push(performance.now() - sent);
      }
      if (event.type === "error") throw new Error(event.message);
    }
  }));
  return answerLine(promptTokens, times);
}

function answerLine(prompt_tokens: number, times: readonly number[]): AnswerLine {
  const [first_ms = 0, last_ms = 0] = [times[0], times.at(-1)];
  return { prompt_tokens, tokens: times.length, first_ms, last_ms };
}

async function adapter(): Promise<(options: ServeOptions) => RunningServer> {
  const { serve } = "Deno" in globalThis
    ? await import("../src/server/adapters/deno.ts")
    : await import("../src/server/adapters/bun.ts");
  return serve;
}

async function main(path: string, threads: number, streams: number): Promise<void> {
  const say = (line: unknown): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);
  await using model = await load(path, {
    threads,
    ctxSize: CONTEXT_TOKENS,
    parallel: streams,
  });
  using core = await Core.load({
    ...{ path, n_threads: threads, n_ctx: CONTEXT_TOKENS, n_streams: streams, cacheType: "f16" },
    ...{ flashAttention: true, fused: true, repack: true },
  }, new Int32Array(new SharedArrayBuffer(4 * streams)));
  const server = (await adapter())({ handler: createHandler(model), port: 0 });
  const ways: Record<string, Way> = {
    ticks: (ask) => tick(core, ask),
    generate: (ask) => generate(model, ask),
  };
  say({ url: `${server.url}/` });
  for await (const line of createInterface({ input: process.stdin })) {
    const ask = JSON.parse(line) as AskLine;
    say(await ways[ask.way ?? "generate"]!(ask));
  }
  await server.stop();
}

if (import.meta.main) {
  const [path = "", threads = "2", streams = "1"] = process.argv.slice(2);
  await main(path, Number(threads), Number(streams));
  process.exit();
}
