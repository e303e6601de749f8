/**
 * How long it takes to write one token event: StreamEvent -> SseMessage -> bytes, in each dialect,
 * and in the codecs beside them.
 *
 * The promise is less than a microsecond in the mean, collection of garbage included. Run:
 * `bun bench/format.ts` or `deno run -A bench/format.ts`.
 *
 * @module
 */
import { bench, do_not_optimize, run } from "mitata";
import type { ModelInfo } from "../src/engine/generator.ts";
import type { Dialect, Encode } from "../src/server/dialect.ts";
import { native } from "../src/server/dialects/native.ts";
import { openai } from "../src/server/dialects/openai.ts";
import type { TokenEvent } from "../src/stream/event.ts";
import { SseFormatter } from "../src/stream/formatter.ts";
import { encodeFrame } from "../src/stream/frame.ts";
import { SseWriter } from "../src/stream/sse.ts";

const model: ModelInfo = { id: "smollm2", created: 1_700_000_000, n_ctx: 2048, n_vocab: 49_152 };
const context = { model, id: crypto.randomUUID().replaceAll("-", ""), created: 1_700_000_000 };
const bodies: Record<string, object> = {
  "/v1/chat/completions": { messages: [{ role: "user", content: "Hi" }], stream: true },
  "/v1/completions": { prompt: "Hi", stream: true },
  "/v1/stream": { prompt: "Hi" },
};

function encoderOf(dialect: Dialect, path: string): Encode {
  const route = dialect.generates.find((each) => each.path === path);
  const exchange = route?.accept({ ...bodies[path] }, context);
  if (exchange?.stream !== true) throw new TypeError(`${path} does not stream`);
  return exchange.encoder();
}

const event: TokenEvent = {
  type: "token",
  seq: 1,
  ids: [24_975],
  text: " quantum",
  timeMs: 150.25,
  choice: 0,
  channel: "content",
};

for (const dialect of [openai, native]) {
  for (const { path } of dialect.generates) {
    const encode = encoderOf(dialect, path);
    const writer = new SseWriter();
    bench(path, () => {
      for (const message of encode(event, event.seq)) do_not_optimize(writer.write(message));
    });
  }
}

const formatter = new SseFormatter();
formatter.includeTokenIds = true;
bench("SseFormatter", () => do_not_optimize(formatter.formatToken(event)));
bench("binary frame", () => do_not_optimize(encodeFrame({ seq: 1, event })));

await run();
