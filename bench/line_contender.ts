/**
 * A program that is asked by a line of JSON on its input and answers by one on its output, with the
 * times that it took itself. Nothing of HTTP is in its figures.
 *
 * @module
 */
import { createInterface } from "node:readline";
import type { Answer, Ask, Contender } from "./contender.ts";
import { ProcessGroup } from "./process_group.ts";

/** What the program reads. */
export interface AskLine {
  readonly prompts: readonly string[];
  readonly max_tokens: number;
  readonly chat: boolean;
  /** For programs that can generate in several ways. */
  readonly way?: string;
}

/** What the program prints; the names of {@link Answer} in the spelling of both languages. */
export interface AnswerLine {
  readonly prompt_tokens: number;
  readonly tokens: number;
  readonly first_ms: number;
  readonly last_ms: number;
}

/** A program and its two pipes. It takes no time limit. */
export class LineContender implements Contender {
  readonly processes: ProcessGroup;
  readonly #lines: AsyncIterator<string>;

  constructor(processes: ProcessGroup) {
    this.processes = processes;
    this.#lines = createInterface({ input: processes.output })[Symbol.asyncIterator]();
    // A program that ends meanwhile is found when its answer is awaited.
    processes.input.on("error", () => undefined);
  }

  /** Starts the program. */
  static start(name: string, command: readonly string[], cwd?: string): LineContender {
    return new LineContender(ProcessGroup.start(name, command, cwd));
  }

  ask(ask: Ask): Promise<Answer[]> {
    return this.askOne(ask);
  }

  /** The same, in one of several ways. */
  async askOne({ prompts, maxTokens, chat = false }: Ask, way?: string): Promise<Answer[]> {
    const line: AskLine = { prompts, max_tokens: maxTokens, chat, ...(way && { way }) };
    this.processes.input.write(`${JSON.stringify(line)}\n`);
    const { prompt_tokens, tokens, first_ms, last_ms } = await this.readLine<AnswerLine>();
    return [{ promptTokens: prompt_tokens, tokens, firstMs: first_ms, lastMs: last_ms }];
  }

  /**
   * The next line that the program prints.
   *
   * @throws {EngineError} when it ends instead
   */
  async readLine<T>(): Promise<T> {
    // The lines of a program that never started have no end.
    const ended = this.processes.closed.then(() => undefined);
    const step = await Promise.race([this.#lines.next(), ended]);
    if (step?.done === false) return JSON.parse(step.value) as T;
    await ended;
    throw this.processes.failure();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.processes[Symbol.asyncDispose]();
  }
}
