/**
 * A stream read by hand: one SSE message an event, from the model's own `fetch`, without a port.
 *
 * @module
 */
import process from "node:process";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { load } from "../mod.ts";

await using model = await load("smollm2");
const response = await model.fetch("http://localhost/v1/stream", {
  method: "POST",
  body: JSON.stringify({
    messages: [{ role: "user", content: process.argv[2] ?? "Name three rivers." }],
    max_tokens: 32,
    temperature: 0,
  }),
});
const messages = response.body!
  .pipeThrough(new TextDecoderStream())
  .pipeThrough(new EventSourceParserStream());

const print = (line: string): boolean => process.stdout.write(`${line}\n`);
for await (const { event, data } of messages) {
  const fields = JSON.parse(data);
  if (event === "token") print(`${fields.position} ${fields.token_id} ${fields.token}`);
  if (event === "complete") print(`${fields.completion_reason}: ${fields.total_tokens} tokens`);
  if (event === "error") throw new Error(fields.message);
}
