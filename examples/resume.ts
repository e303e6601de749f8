/**
 * An answer over a bad line: the connection is cut on purpose, and the text is whole all the same.
 *
 * @module
 */
import process from "node:process";
import { load } from "../mod.ts";
import { streamChat } from "../src/client/mod.ts";

await using model = await load("smollm2");
let connections = 0;

/** The model's own `fetch`; its first connection is cut in the middle of the answer. */
async function badLine(url: string, init?: RequestInit): Promise<Response> {
  const response = await model.fetch(url, init);
  if (connections++ > 0 || response.body === null) return response;
  let chunks = 0;
  const cut = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform: (chunk, controller) => {
      if (chunks++ < 10) controller.enqueue(chunk);
      else controller.error(new TypeError("The connection was cut"));
    },
  });
  return new Response(response.body.pipeThrough(cut), response);
}

const stream = streamChat({
  url: "http://localhost",
  messages: [{ role: "user", content: process.argv[2] ?? "Name three rivers." }],
  maxTokens: 32,
  temperature: 0,
  fetch: badLine,
});
for await (const { text } of stream) process.stdout.write(text);
const { totalTokens } = await stream.completion;
process.stdout.write(`\n[${totalTokens} tokens over ${connections} connections]\n`);
