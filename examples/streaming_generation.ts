/**
 * Text and token ids as they come, grouped as the flags say: the ids are those that were sampled.
 *
 * `bun examples/streaming_generation.ts --buffer-size 5 --flush-interval 25ms "Explain light"`
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { load, StreamingConfig } from "../mod.ts";

const { values, positionals } = parseArgs({
  options: {
    "buffer-size": { type: "string", default: "10" },
    "flush-interval": { type: "string", default: "50ms" },
  },
  allowPositionals: true,
});

const streaming = new StreamingConfig({
  bufferSize: Number(values["buffer-size"]),
  flushIntervalMs: Number(values["flush-interval"].replace(/ms$/, "")),
});

await using model = await load("smollm2");
const prompt = positionals[0] ?? "Explain quantum computing";
const generation = { maxTokens: 32, sampling: { temperature: 0 } };
const responses = model.stream(prompt, { generation, streaming });
for await (const { text, tokenIds } of responses) {
  process.stdout.write(`${tokenIds.join(" ")}\t${JSON.stringify(text)}\n`);
}
