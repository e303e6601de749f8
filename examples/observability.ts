/**
 * Logs, metrics and spans of a server: `bun examples/observability.ts`.
 *
 * A program of your own sends the spans to a collector and lets Prometheus read `/metrics`.
 *
 * @module
 */
import process from "node:process";
import { configureSync, getConsoleSink, getJsonLinesFormatter } from "@logtape/logtape";
import * as opentelemetry from "@opentelemetry/api";
import {
  BasicTracerProvider,
  ConsoleSpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { createHandler, load } from "../mod.ts";

configureSync({
  sinks: { console: getConsoleSink({ formatter: getJsonLinesFormatter() }) },
  loggers: [
    { category: ["sluice"], lowestLevel: "info", sinks: ["console"] },
    { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["console"] },
  ],
});
opentelemetry.trace.setGlobalTracerProvider(
  new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] }),
);

await using model = await load("smollm2");
const handler = createHandler(model, { opentelemetry });

const body = JSON.stringify({ prompt: "The sky is", max_tokens: 8 });
const answer = await handler(new Request("http://localhost/v1/stream", { method: "POST", body }));
await answer.text();

const metrics = await handler(new Request("http://localhost/metrics"));
const lines = (await metrics.text()).split("\n");
const tokens = lines.filter((line) => /^sluice_(generated|prompt)_tokens_total/.test(line));
process.stdout.write(`${tokens.join("\n")}\n`);
