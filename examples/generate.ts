/**
 * The loop without HTTP: events as they are computed, and an end from outside.
 *
 * @module
 */
import process from "node:process";
import { load } from "../mod.ts";

await using model = await load("smollm2");
const messages = [{ role: "user", content: process.argv[2] ?? "Name three rivers." }];
const sampling = { temperature: 0 };

const abort = new AbortController();
process.once("SIGINT", () => abort.abort());

for await (const event of model.generate({ messages, sampling, maxTokens: 64 }, abort.signal)) {
  if (event.type === "token") process.stdout.write(event.text);
  if (event.type === "complete") {
    const { generatedTokens, totalMs } = event.stats;
    process.stdout.write(
      `\n[${event.finishReason}] ${generatedTokens} tokens, ${totalMs.toFixed(0)} ms\n`,
    );
  }
}
