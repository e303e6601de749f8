/**
 * The command line: serve a model, or generate one answer.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import {
  ACCESS_OPTIONS,
  ACCESS_USAGE,
  accessOptions,
  KEYS_USAGE,
  runKeys,
  tlsOf,
} from "./cli/access.ts";
import { ADAPTER_OPTIONS, ADAPTER_USAGE, adapterFor, loadAdapter } from "./cli/adapter.ts";
import { configureLog, LOG_OPTIONS, LOG_USAGE } from "./cli/log.ts";
import { SluiceError } from "./errors.ts";
import { load, type LoadOptions, type Model } from "./load.ts";
import { createHandler } from "./server/handler.ts";
import { list, pull } from "./store/cli.ts";
import { ModelStore } from "./store/store.ts";
import { StreamingConfig } from "./stream/config.ts";
import { openStreamStore } from "./stream/stores/open.ts";

const USAGE = `sluice: run a language model and stream its tokens

  serve                     an HTTP server (default)
  generate "PROMPT"         one answer on standard output
  pull REF                  bring a model onto this machine, such as hf:owner/repo:Q4_K_M
  list                      the models of this machine
  keys add NAME             API keys, see below

  --model REF               smollm2, the path of a GGUF file, or what was pulled (smollm2)
  --threads N               threads that compute (processors of this machine)
  --ctx-size N              tokens that one sequence can hold (the model's own)
  --parallel N              sequences that run at once (4)
  --cache-type TYPE         what keys and values are kept as: f16, q8_0 or f32 (f16)
  --kernel-variant NAME     level of our kernels, such as x86_64_v3 (the best of this processor)
  --packed-dir DIR          keeps weights as they were packed, for the next start (nowhere)

serve:
  --port N                  port, 0 is any free one (8080)
  --host ADDRESS            address to listen on (127.0.0.1)
${ADAPTER_USAGE}${ACCESS_USAGE}  --max-tokens N            most tokens of one answer (no cap)
  --route PATH=DIALECT      what a path speaks: native, openai, openai_completions, content,
                            chat_stream, ...; may be given several times
  --keep-alive TIME         pause after which a silent stream gets a comment, 0 is never (5s)
  --buffer-size N           events in one chunk of a stream (1)
  --flush-interval TIME     how long an event may wait for others, such as 25ms or 1s (0)
  --stream-store STORE      where streams outlive the server: memory (not at all), sqlite:PATH,
                            redis://HOST:PORT (memory)
${LOG_USAGE}
generate:
  --raw                     the prompt as it is, without the chat template
  --max-tokens N            most tokens of the answer (512)
  --temperature T, --top-k K, --top-p P, --min-p P, --repeat-penalty R, --seed N
  --stop TEXT               ends the answer; may be given several times

${KEYS_USAGE}`;

const OPTIONS = {
  help: { type: "boolean", short: "h" },
  model: { type: "string", short: "m", default: "smollm2" },
  threads: { type: "string", short: "t" },
  "kernel-variant": { type: "string" },
  "packed-dir": { type: "string" },
  "ctx-size": { type: "string", short: "c" },
  parallel: { type: "string" },
  "cache-type": { type: "string" },
  port: { type: "string", default: "8080" },
  host: { type: "string", default: "127.0.0.1" },
  ...ACCESS_OPTIONS,
  ...ADAPTER_OPTIONS,
  ...LOG_OPTIONS,
  "max-tokens": { type: "string" },
  route: { type: "string", multiple: true },
  "keep-alive": { type: "string", default: "5s" },
  "buffer-size": { type: "string", default: "1" },
  "flush-interval": { type: "string", default: "0" },
  "stream-store": { type: "string", default: "memory" },
  raw: { type: "boolean" },
  temperature: { type: "string" },
  "top-k": { type: "string" },
  "top-p": { type: "string" },
  "min-p": { type: "string" },
  "repeat-penalty": { type: "string" },
  seed: { type: "string" },
  stop: { type: "string", multiple: true },
} as const;

type Values = ReturnType<typeof parse>["values"];

/** Milliseconds that running streams get to end after SIGINT or SIGTERM. */
const STOP_GRACE_MS = 2000;

function parse(args: string[]) {
  return parseArgs({ args, options: OPTIONS, allowPositionals: true });
}

/** Runs a command; returns the exit code. */
export async function main(args: string[]): Promise<number> {
  try {
    const { values, positionals: [command = "serve", ...rest] } = parse(args);
    if (values.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    switch (command) {
      case "serve":
        return await serve(values);
      case "generate":
        return await generate(values, rest.join(" "));
      case "pull":
        return await pull(rest);
      case "list":
        return list();
      case "keys":
        return await runKeys(rest, values);
    }
    throw new UsageError(
      `Cannot run "${command}": expected serve, generate, pull, list or keys, see --help`,
    );
  } catch (error) {
    if (!isExpected(error)) throw error;
    process.stderr.write(`sluice: ${error.message}\n`);
    return 1;
  }
}

class UsageError extends SluiceError {
  constructor(message: string) {
    super(message, "usage", 400);
  }
}

function isExpected(error: unknown): error is Error {
  if (error instanceof SluiceError) return true;
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && (code.startsWith("ERR_PARSE_ARGS") || code === "EADDRINUSE");
}

async function serve(values: Values): Promise<number> {
  configureLog(values);
  const host = values.host;
  const access = await accessOptions(host, values);
  const tls = await tlsOf(values);
  const adapterName = adapterFor(host, values.adapter);
  const port = integer(values, "port", 0)!;
  const routes = routesOf(values.route);
  const store = await openStreamStore(values["stream-store"]);
  const started = performance.now();
  const loading = loadWithProgress(values);
  const maxTokens = integer(values, "max-tokens", 1);
  const handler = createHandler(loading, {
    ...access,
    keepAliveMs: milliseconds(values, "keep-alive", 1000),
    streaming: new StreamingConfig({
      bufferSize: integer(values, "buffer-size", 1)!,
      flushIntervalMs: milliseconds(values, "flush-interval", 1),
    }),
    ...some("maxTokens", maxTokens),
    ...some("store", store),
    downloads: new ModelStore(),
    routes,
  });
  const listen = await loadAdapter(adapterName);
  const server = await listen({ handler, hostname: host, port, ...some("tls", tls) });
  const stopped = new Promise<void>((resolve) => onStop(resolve));
  try {
    const model = await loading;
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    process.stdout.write(`${describe(model)}, loaded in ${seconds} s\n`);
    process.stdout.write(`Listening on ${server.url}\n`);
    await stopped;
    process.stdout.write("Stopping\n");
    await server.stop(STOP_GRACE_MS);
    await model[Symbol.asyncDispose]();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return 0;
}

async function generate(values: Values, prompt: string): Promise<number> {
  if (prompt === "") throw new UsageError('Cannot generate: the prompt is missing: generate "..."');
  await using model = await loadWithProgress(values);
  const seed = integer(values, "seed", 0);
  const abort = new AbortController();
  onStop(() => abort.abort());
  const events = model.generate({
    ...(values.raw ? { prompt } : { messages: [{ role: "user", content: prompt }] }),
    maxTokens: integer(values, "max-tokens", 1) ?? 512,
    stop: values.stop ?? [],
    sampling: {
      ...some("temperature", number(values, "temperature", 0)),
      ...some("topK", integer(values, "top-k", 0)),
      ...some("topP", number(values, "top-p", 0)),
      ...some("minP", number(values, "min-p", 0)),
      ...some("repeatPenalty", number(values, "repeat-penalty", 0)),
      ...some("seed", seed),
    },
  }, abort.signal);
  let code = 0;
  for await (const event of events) {
    if (event.type === "token") process.stdout.write(event.text);
    if (event.type === "error") {
      process.stderr.write(`\nsluice: ${event.message}\n`);
      code = 1;
    }
    if (event.type === "complete") {
      const { generatedTokens, decodeMs, prefillMs, promptTokens } = event.stats;
      const speed = decodeMs > 0 ? ((generatedTokens - 1) / decodeMs * 1000).toFixed(1) : "-";
      process.stdout.write("\n");
      process.stderr.write(
        `${event.finishReason}: ${promptTokens} + ${generatedTokens} tokens, first after ${
          prefillMs.toFixed(0)
        } ms, then ${speed} per second\n`,
      );
    }
  }
  return code;
}

/**
 * Calls back on SIGINT and SIGTERM. A terminal and a parent may both send one, so a second is no
 * news.
 */
function onStop(stop: () => void): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
}

function loadWithProgress(values: Values): Promise<Model> {
  const threads = integer(values, "threads", 1);
  const ctxSize = integer(values, "ctx-size", 1);
  const parallel = integer(values, "parallel", 1);
  const options: LoadOptions = {
    ...some("threads", threads),
    ...some("ctxSize", ctxSize),
    ...some("parallel", parallel),
    ...some("cacheType", cacheType(values["cache-type"])),
    ...some("kernelVariant", values["kernel-variant"]),
    ...some("packedDir", values["packed-dir"]),
  };
  if (process.stderr.isTTY) {
    options.onProgress = (loadedBytes, totalBytes) => {
      const percent = Math.floor(loadedBytes / totalBytes * 100);
      const end = loadedBytes === totalBytes ? "\r\x1b[K" : "";
      process.stderr.write(`\rLoading ${values.model} ${percent} %${end}`);
    };
  }
  return load(values.model, options);
}

const CACHE_TYPES = ["f16", "q8_0", "f32"] as const;

function cacheType(text: string | undefined): (typeof CACHE_TYPES)[number] | undefined {
  const type = CACHE_TYPES.find((known) => known === text);
  if (type !== undefined || text === undefined) return type;
  throw new UsageError(`Cannot use --cache-type ${text}: expected ${CACHE_TYPES.join(", ")}`);
}

function describe(model: Model): string {
  const { id, n_ctx } = model.model;
  const { n_threads, n_streams, cpuVariant } = model.core;
  return `${id}: ${n_streams} x ${n_ctx} tokens, ${n_threads} threads (${cpuVariant})`;
}

/** Names of dialects by path; a path may have an equals sign, a name has none. */
function routesOf(texts: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(texts.map((text) => {
    const at = text.lastIndexOf("=");
    if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
    throw new UsageError(`Cannot use --route ${text}: expected PATH=DIALECT, such as /chat=openai`);
  }));
}

function some<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : { [key]: value } as { [P in K]: V };
}

type NumberOption = Exclude<
  keyof typeof OPTIONS,
  | keyof typeof ACCESS_OPTIONS
  | keyof typeof ADAPTER_OPTIONS
  | keyof typeof LOG_OPTIONS
  | "help"
  | "raw"
  | "route"
  | "stop"
  | "stream-store"
>;

function number(values: Values, name: NumberOption, min: number): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= min) return value;
  throw new UsageError(`Cannot use --${name} ${text}: expected a number from ${min} up`);
}

function integer(values: Values, name: NumberOption, min: number): number | undefined {
  const value = number(values, name, min);
  if (value === undefined || Number.isInteger(value)) return value;
  throw new UsageError(`Cannot use --${name} ${values[name]}: expected an integer from ${min} up`);
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };

/** A duration such as 25ms, 1.5s or 2m; a bare number is in the option's own unit. */
function milliseconds(
  values: Values,
  name: "keep-alive" | "flush-interval",
  unitMs: number,
): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(values[name]) ?? [];
  if (digits !== undefined) return Number(digits) * (unit ? UNITS_MS[unit]! : unitMs);
  throw new UsageError(`Cannot use --${name} ${values[name]}: expected a time such as 25ms or 15s`);
}

if (import.meta.main) {
  // Disposing the model frees its thread; what else keeps the loop alive must not keep the process.
  process.exit(await main(process.argv.slice(2)));
}
