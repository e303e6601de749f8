/**
 * What is measured: a program that generates when asked, and how one is started. Types only.
 *
 * @module
 */
import type { LinearLine } from "./linear.ts";
import type { ProcessGroup } from "./process_group.ts";
import type { TicksLine } from "./ticks.ts";

/** What to generate, always greedy and past the end token. */
export interface Ask {
  /** Each is a generation of its own; all run at once. */
  readonly prompts: readonly string[];
  readonly maxTokens: number;
  /** The prompts are messages of a user, not raw text. Default false. */
  readonly chat?: boolean;
  /** Cut off after this time; what came until then counts. */
  readonly limitMs?: number;
}

/** A generation as its reader saw it; times count from the moment when it was asked for. */
export interface Answer {
  /** 0 when the answer was cut off. */
  readonly promptTokens: number;
  readonly tokens: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

/** A program that runs. It is ready when the first `ask()` resolves. */
export interface Contender extends AsyncDisposable {
  readonly processes: Pick<ProcessGroup, "pause" | "resume" | "cpuMs" | "memory">;
  /**
   * Generates.
   *
   * @returns an answer for each prompt, or one for all together
   * @throws {EngineError} when the program ends, refuses, or gives fewer tokens than it should
   */
  ask(ask: Ask): Promise<Answer[]>;
}

/** A program that can be started, any number of times. */
export interface Entrant {
  /** Name in the table. */
  readonly name: string;
  /** What exactly it is. */
  readonly version: string;
  /** Threads that compute. */
  readonly threads: number;
  /** The names of those that its figures are divided by. */
  readonly rivals: readonly string[];
  start(): Promise<Contender>;
  /**
   * How fast the linear layers alone of a prompt of so many tokens are, by a program of its own;
   * absent where nobody can tell.
   */
  linearLayers?(tokens: number): Promise<LinearLine>;
  /** How fast answers of so many tokens are without a server, by a program of its own. */
  ticks?(tokens: number): Promise<TicksLine>;
}

/** An answer, or several at once, from when each of its tokens came. */
export function answerOf(promptTokens: number, times: readonly number[]): Answer {
  const [firstMs = 0, lastMs = 0] = [times[0], times.at(-1)];
  return { promptTokens, tokens: times.length, firstMs, lastMs };
}

/** Answers that came at once, as one. */
export function together(answers: readonly Answer[]): Answer {
  return {
    promptTokens: answers.reduce((sum, { promptTokens }) => sum + promptTokens, 0),
    tokens: answers.reduce((sum, { tokens }) => sum + tokens, 0),
    firstMs: Math.min(...answers.map(({ firstMs }) => firstMs)),
    lastMs: Math.max(...answers.map(({ lastMs }) => lastMs)),
  };
}

/** Speed after the first token, in tokens per second. */
export function decodeRate({ tokens, firstMs, lastMs }: Answer): number {
  return (tokens - 1) / (lastMs - firstMs) * 1000;
}
