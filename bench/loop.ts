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
import type { RunningServer, ServeOptions } from "../src/server/adapters/server.ts";
import { type Answer, answerOf } from "./contender.ts";
import type { AnswerLine, AskLine } from "./line_contender.ts";
import { loadCore, tick } from "./ticks.ts";

const CONTEXT_TOKENS = 2048;

type Way = (ask: AskLine) => Answer | Promise<Answer>;

/** Generates as a program does that embeds sluice. */
async function generate(model: Model, { prompts, max_tokens }: AskLine): Promise<Answer> {
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
  return answerOf(promptTokens, times);
}

function answerLine({ promptTokens, tokens, firstMs, lastMs }: Answer): AnswerLine {
  return { prompt_tokens: promptTokens, tokens, first_ms: firstMs, last_ms: lastMs };
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
  using core = await loadCore(path, threads, CONTEXT_TOKENS, streams);
  const server = (await adapter())({ handler: createHandler(model), port: 0 });
  const ways: Record<string, Way> = {
    ticks: ({ prompts, max_tokens }) => tick(core, prompts.length, max_tokens),
    generate: (ask) => generate(model, ask),
  };
  say({ url: `${server.url}/` });
  for await (const line of createInterface({ input: process.stdin })) {
    const ask = JSON.parse(line) as AskLine;
    say(answerLine(await ways[ask.way ?? "generate"]!(ask)));
  }
  await server.stop();
}

if (import.meta.main) {
  const [path = "", threads = "2", streams = "1"] = process.argv.slice(2);
  await main(path, Number(threads), Number(streams));
  process.exit();
}
