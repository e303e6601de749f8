/**
 * What is measured of a contender. A scenario knows nothing of rounds and of who is compared.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { type Contender, decodeRate, type Entrant } from "./contender.ts";
import { SEQUENCES } from "./entrants.ts";
import { startBusyLoops } from "./process_group.ts";

/** One quantity. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly better: "more" | "less";
  /** Whether a ratio of two values says anything. Default true. */
  readonly compared?: boolean;
}

/** Where a scenario is played. */
export interface Stage {
  readonly entrant: Entrant;
  /** The entrant's program: ready, warm, and the only one that runs. */
  readonly contender: Contender;
  /** A prompt of about so many tokens that nobody has seen. */
  prompt(tokens: number): string;
}

/** A way to measure. */
export interface Scenario {
  /** Name for `--only`. */
  readonly name: string;
  readonly figures: readonly Figure[];
  /** Every round, or once after the last. */
  readonly when: "round" | "end";
  /** Whether those with one thread take part beside the others. */
  readonly oneThread?: boolean;
  /** Gives a value for each figure, in the order of `figures`. */
  measure(stage: Stage): Promise<number[]>;
}

/** Tokens of the long prompt. */
export const PREFILL_TOKENS = 512;
const PROMPT_TOKENS = 16;
const DECODE_TOKENS = 128;
const STREAM_TOKENS = 64;
const IDLE_MS = 500;
const BUSY_MS = 10_000;

const speed = (name: string): Figure => ({ name, unit: "tok/s", better: "more" });
const memory = (name: string): Figure => ({ name, unit: "MB", better: "less" });

const decode: Scenario = {
  name: "decode",
  figures: [speed("decode, one stream")],
  when: "round",
  async measure({ contender, prompt }) {
    const prompts = [prompt(PROMPT_TOKENS)];
    const [answer] = await contender.ask({ prompts, maxTokens: DECODE_TOKENS });
    return [decodeRate(answer!)];
  },
};

const idle: Scenario = {
  name: "idle",
  figures: [{
    name: "CPU in the half second after an answer",
    unit: "ms",
    better: "less",
    compared: false,
  }],
  when: "round",
  async measure({ contender, prompt }) {
    await contender.ask({ prompts: [prompt(PROMPT_TOKENS)], maxTokens: PROMPT_TOKENS });
    const before = contender.processes.cpuMs();
    await sleep(IDLE_MS);
    return [contender.processes.cpuMs() - before];
  },
};

const prefill: Scenario = {
  name: "prefill",
  figures: [speed(`prefill, ${PREFILL_TOKENS} tokens`)],
  when: "round",
  async measure({ contender, prompt }) {
    const [answer] = await contender.ask({ prompts: [prompt(PREFILL_TOKENS)], maxTokens: 1 });
    return [answer!.promptTokens / answer!.firstMs * 1000];
  },
};

const streams: Scenario = {
  name: "streams",
  figures: [speed(`${SEQUENCES} streams together`)],
  when: "round",
  async measure({ contender, prompt }) {
    const prompts = Array.from({ length: SEQUENCES }, () => prompt(PROMPT_TOKENS));
    const answers = await contender.ask({ prompts, maxTokens: STREAM_TOKENS });
    const tokens = answers.reduce((sum, answer) => sum + answer.tokens, 0);
    return [tokens / Math.max(...answers.map(({ lastMs }) => lastMs)) * 1000];
  },
};

const load: Scenario = {
  name: "load",
  figures: [
    { name: "start to first token", unit: "ms", better: "less" },
    memory("memory after the first token"),
  ],
  when: "round",
  async measure({ contender, entrant, prompt }) {
    contender.processes.pause();
    const started = performance.now();
    await using fresh = await entrant.start();
    await fresh.ask({ prompts: [prompt(PROMPT_TOKENS)], maxTokens: 1, chat: true });
    return [performance.now() - started, fresh.processes.memory().residentBytes / 1e6];
  },
};

const busy: Scenario = {
  name: "busy",
  figures: [speed("decode, a busy loop on each core")],
  when: "round",
  oneThread: true,
  async measure({ contender, prompt }) {
    await using _ = startBusyLoops(availableParallelism());
    const prompts = [prompt(PROMPT_TOKENS)];
    const limitMs = BUSY_MS;
    const [answer] = await contender.ask({ prompts, maxTokens: STREAM_TOKENS, limitMs });
    return [answer!.tokens > 1 ? decodeRate(answer!) : 0];
  },
};

const memoryAtEnd: Scenario = {
  name: "memory",
  figures: [memory("memory after the run"), memory("most memory in the run")],
  when: "end",
  measure({ contender }) {
    const { residentBytes, peakBytes } = contender.processes.memory();
    return Promise.resolve([residentBytes / 1e6, peakBytes / 1e6]);
  },
};

/** Every scenario that this machine can play, in the order of a round. */
export function listScenarios(): Scenario[] {
  const portable = [decode, prefill, streams, busy];
  // Memory and CPU time of another process are read from /proc.
  return process.platform === "linux"
    ? [decode, idle, prefill, streams, load, busy, memoryAtEnd]
    : portable;
}
