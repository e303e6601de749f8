/**
 * What is measured of a contender. A scenario knows nothing of rounds and of who is compared.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { type Contender, decodeRate, type Entrant } from "./contender.ts";
import { startBusyLoops } from "./process_group.ts";
import { PROMPT_TOKENS } from "./prompts.ts";

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

/** What is asked at once: so many prompts of so many tokens, and so many tokens to each. */
export interface Load {
  readonly prompts: number;
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** A way to measure. */
export interface Scenario {
  /** Name for `--only`. */
  readonly name: string;
  /** Another name for `--only`. */
  readonly alias?: string;
  readonly figures: readonly Figure[];
  /** Every round, or once after the last. */
  readonly when: "round" | "end";
  /** Whether it is played where nobody says what to play. */
  readonly isDefault: boolean;
  /** What it asks for. */
  readonly load: Load;
  /** Whether those with one thread take part beside the others. */
  readonly oneThread?: boolean;
  /** Whether an entrant can play it. Default everybody. */
  plays?(entrant: Entrant): boolean;
  /** Gives a value for each figure, in the order of `figures`. */
  measure(stage: Stage): Promise<number[]>;
}

const DECODE_TOKENS = 128;
const STREAM_TOKENS = 64;
const IDLE_MS = 500;
const BUSY_MS = 10_000;
const SPARE_TOKENS = 64;
const LINEAR_TOKENS = 512;
const TICKS_TOKENS = 32;

/** Tokens that are in the context before the measured ones. */
const DEPTHS = [0, 1024, 2048, 4096];
const PREFILLS = [128, 512, 2048];
const STREAMS = [1, 4, 8, 16];

const single: Load = { prompts: 1, promptTokens: PROMPT_TOKENS, newTokens: DECODE_TOKENS };
const short: Load = { ...single, newTokens: PROMPT_TOKENS };

const speed = (name: string): Figure => ({ name, unit: "tok/s", better: "more" });
const memory = (name: string): Figure => ({ name, unit: "MB", better: "less" });

/** Names of the figures that the roofline is held against, by depth. */
export const decodeFigure = (depth: number): string => `decode at depth ${depth}`;

/** Name of the figure of a prompt of so many tokens. */
export const prefillFigure = (tokens: number): string => `prefill of ${tokens} tokens`;

/** Names of the figures of the linear layers. */
export const linearFigures = [
  `products of linear layers alone, ${LINEAR_TOKENS} tokens`,
  `linear layers alone, ${LINEAR_TOKENS} tokens`,
] as const;

/** Name of the figure of the core alone. */
export const ticksFigure = "decode by the core alone";

/** Names of the memory's figures. */
export const memoryFigures = ["memory after the run", "most memory in the run"] as const;

/** Asks for a load of fresh prompts. */
function askFor({ prompts, promptTokens, newTokens }: Load, { contender, prompt }: Stage) {
  const fresh = Array.from({ length: prompts }, () => prompt(promptTokens));
  return contender.ask({ prompts: fresh, maxTokens: newTokens });
}

function decodeAt(depth: number): Scenario {
  const load = { ...single, promptTokens: Math.max(depth, PROMPT_TOKENS) };
  const first: Figure = { name: "first token of a prompt of 16", unit: "ms", better: "less" };
  const figures = [speed(decodeFigure(depth)), ...(depth === 0 ? [first] : [])];
  return {
    name: `depth-${depth}`,
    ...(depth === 0 && { alias: "decode" }),
    figures,
    when: "round",
    isDefault: depth === 0 || depth === 2048,
    load,
    async measure(stage) {
      const [answer] = await askFor(load, stage);
      return [decodeRate(answer!), answer!.firstMs].slice(0, figures.length);
    },
  };
}

function prefillOf(tokens: number): Scenario {
  const load: Load = { prompts: 1, promptTokens: tokens, newTokens: 1 };
  return {
    name: `prefill-${tokens}`,
    ...(tokens === 512 && { alias: "prefill" }),
    figures: [speed(prefillFigure(tokens))],
    when: "round",
    isDefault: tokens === 512,
    load,
    async measure(stage) {
      const [answer] = await askFor(load, stage);
      return [answer!.promptTokens / answer!.firstMs * 1000];
    },
  };
}

function streamsOf(count: number): Scenario {
  const load: Load = { prompts: count, promptTokens: PROMPT_TOKENS, newTokens: STREAM_TOKENS };
  return {
    name: `streams-${count}`,
    ...(count === 8 && { alias: "streams" }),
    figures: [speed(count === 1 ? "one stream, prompt and all" : `${count} streams together`)],
    when: "round",
    isDefault: count === 8,
    load,
    async measure(stage) {
      const answers = await askFor(load, stage);
      const tokens = answers.reduce((sum, answer) => sum + answer.tokens, 0);
      return [tokens / Math.max(...answers.map(({ lastMs }) => lastMs)) * 1000];
    },
  };
}

const linear: Scenario = {
  name: "linear",
  figures: linearFigures.map((name) => ({ name, unit: "GOPS", better: "more", compared: false })),
  when: "round",
  isDefault: true,
  load: { ...single, newTokens: 0 },
  plays: ({ linearLayers }) => linearLayers !== undefined,
  async measure({ contender, entrant }) {
    contender.processes.pause();
    const { productsGops, layersGops } = await entrant.linearLayers!(LINEAR_TOKENS);
    return [productsGops, layersGops];
  },
};

const ticks: Scenario = {
  name: "ticks",
  figures: [{ ...speed(ticksFigure), compared: false }],
  when: "round",
  isDefault: true,
  load: { ...single, newTokens: TICKS_TOKENS },
  plays: ({ ticks }) => ticks !== undefined,
  async measure({ contender, entrant }) {
    contender.processes.pause();
    return [(await entrant.ticks!(TICKS_TOKENS)).tokensPerSecond];
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
  isDefault: true,
  load: short,
  async measure(stage) {
    const { contender } = stage;
    await askFor(short, stage);
    const before = contender.processes.cpuMs();
    await sleep(IDLE_MS);
    return [contender.processes.cpuMs() - before];
  },
};

const load: Scenario = {
  name: "load",
  figures: [
    { name: "start to first token", unit: "ms", better: "less" },
    memory("memory after the first token"),
  ],
  when: "round",
  isDefault: true,
  load: { ...single, newTokens: 1 },
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
  isDefault: true,
  load: { ...single, newTokens: STREAM_TOKENS },
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
  figures: memoryFigures.map(memory),
  when: "end",
  isDefault: true,
  load: { ...single, newTokens: 0 },
  measure({ contender }) {
    const { residentBytes, peakBytes } = contender.processes.memory();
    return Promise.resolve([residentBytes / 1e6, peakBytes / 1e6]);
  },
};

/** Every scenario that this machine can play, in the order of a round. */
export function listScenarios(): Scenario[] {
  const decodes = [...DEPTHS.map(decodeAt), ticks];
  const prefills = [...PREFILLS.map(prefillOf), linear];
  const speeds = [...decodes, ...prefills, ...STREAMS.map(streamsOf)];
  // Memory and CPU time of another process are read from /proc.
  return process.platform === "linux"
    ? [...speeds, idle, load, busy, memoryAtEnd]
    : [...speeds, busy];
}

/** Room for everything that some scenarios ask for. */
export function roomFor(scenarios: readonly Scenario[]): { sequences: number; tokens: number } {
  const tokens = scenarios.map(({ load }) => load.promptTokens + load.newTokens);
  return {
    sequences: Math.max(...scenarios.map(({ load }) => load.prompts)),
    // What begins a text and what a chat wraps around it come on top.
    tokens: Math.ceil((Math.max(...tokens) + SPARE_TOKENS) / 256) * 256,
  };
}
