/**
 * A server that speaks OpenAI's completions, measured as its client sees it.
 *
 * While an answer comes, its pieces are only kept with their times; they are read when it is over,
 * so that the client takes as little as it can from the server's processors.
 *
 * @module
 */
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { EngineError } from "../src/errors.ts";
import { SseParser } from "../src/stream/sse.ts";
import { type Answer, answerOf, type Ask, type Contender } from "./contender.ts";
import { ProcessGroup } from "./process_group.ts";

/** Bytes of an answer and when they came, in milliseconds since it was asked for. */
export interface Piece {
  readonly atMs: number;
  readonly bytes: Uint8Array;
}

const RETRY_MS = 5;
/** A slow machine takes minutes for a long prompt and a large model. */
const ANSWER_MS_MAX = 600_000;

/** A server and its client. */
export class HttpContender implements Contender {
  readonly processes: ProcessGroup;
  readonly #url: string;

  /** @param url root of the server's routes, with a slash at its end */
  constructor(processes: ProcessGroup, url: string) {
    this.processes = processes;
    this.#url = url;
  }

  /** Starts a server on a free port of this machine. */
  static async start(
    name: string,
    command: (port: number) => readonly string[],
    cwd?: string,
  ): Promise<HttpContender> {
    const port = await freePort();
    const processes = ProcessGroup.start(name, command(port), cwd);
    processes.output.resume();
    return new HttpContender(processes, `http://127.0.0.1:${port}/`);
  }

  async ask(ask: Ask): Promise<Answer[]> {
    const sentMs = performance.now();
    return await Promise.all(ask.prompts.map((prompt) => this.#generate(prompt, ask, sentMs)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.processes[Symbol.asyncDispose]();
  }

  async #generate(prompt: string, ask: Ask, sentMs: number): Promise<Answer> {
    const { maxTokens, chat = false, limitMs } = ask;
    const input = chat ? { messages: [{ role: "user", content: prompt }] } : { prompt };
    const body = JSON.stringify({
      ...input,
      max_tokens: maxTokens,
      temperature: 0,
      ignore_eos: true,
      cache_prompt: false,
      stream: true,
      stream_options: { include_usage: true },
    });
    const cut = new AbortController();
    const timer = setTimeout(() => cut.abort(), limitMs ?? ANSWER_MS_MAX);
    const pieces: Piece[] = [];
    try {
      const response = await this.#post(
        chat ? "v1/chat/completions" : "v1/completions",
        body,
        cut.signal,
      );
      for await (const bytes of response.body!) {
        pieces.push({ atMs: performance.now() - sentMs, bytes });
      }
    } catch (error) {
      if (!cut.signal.aborted) throw await this.#explain(error);
    } finally {
      clearTimeout(timer);
    }
    const answer = readAnswer(pieces);
    if (limitMs === undefined && answer.tokens !== maxTokens) {
      throw new EngineError(
        `Cannot measure ${this.#url}: it gave ${answer.tokens} tokens, expected ${maxTokens}`,
      );
    }
    return answer;
  }

  async #explain(error: unknown): Promise<unknown> {
    if (error instanceof EngineError) return error;
    // The connection ends a moment before the process does.
    await sleep(RETRY_MS * 10);
    this.processes.expectAlive();
    return new EngineError(`Cannot measure ${this.#url}: ${error}`, { cause: error });
  }

  /**
   * Sends a request; again while the server starts or loads its model, or when it had closed the
   * connection of an earlier one during its pause.
   */
  async #post(path: string, body: string, signal: AbortSignal): Promise<Response> {
    const headers = { "content-type": "application/json" };
    for (;;) {
      this.processes.expectAlive();
      const init = { method: "POST", headers, body, signal };
      const response = await fetch(this.#url + path, init).catch((error: Error) => error);
      if (response instanceof Response && response.ok) return response;
      const reason = response instanceof Error ? response.message : await response.text();
      const isLoading = response instanceof Error || [429, 503].includes(response.status);
      if (signal.aborted || !isLoading) {
        throw new EngineError(`Cannot measure ${this.#url}${path}: ${reason}`);
      }
      await sleep(RETRY_MS);
    }
  }
}

/** Reads a stream of completion chunks that came in pieces. */
export function readAnswer(pieces: readonly Piece[]): Answer {
  const parser = new SseParser();
  const times: number[] = [];
  let usage: { prompt_tokens: number; completion_tokens: number } | undefined;
  for (const { atMs, bytes } of pieces) {
    for (const { data } of parser.push(bytes)) {
      if (data === undefined || data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new EngineError(`Cannot measure the answer: ${data}`);
      usage = chunk.usage ?? usage;
      const [choice] = chunk.choices ?? [];
      if (choice?.text || choice?.delta?.content) times.push(atMs);
    }
  }
  const answer = answerOf(usage?.prompt_tokens ?? 0, times);
  return { ...answer, tokens: usage?.completion_tokens ?? answer.tokens };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
