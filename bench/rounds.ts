/**
 * Who is measured when: every round plays every scenario with everybody in turn, so that a clock
 * that drifts, or a neighbour that wakes up, meets all alike.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { SluiceError } from "../src/errors.ts";
import type { Contender, Entrant } from "./contender.ts";
import { prompt } from "./prompts.ts";
import type { Figure, Scenario } from "./scenarios.ts";

/** One value of one figure. */
export interface Sample {
  readonly figure: Figure;
  /** Name of the entrant. */
  readonly entrant: string;
  /** From 0; a figure of the end has round 0. */
  readonly round: number;
  readonly value: number;
}

/** What a bench does. */
export interface Plan {
  readonly entrants: readonly Entrant[];
  readonly scenarios: readonly Scenario[];
  readonly rounds: number;
  /** Measures the machine itself at the start of each round, while nobody runs. */
  readonly beforeRound?: (round: number) => Promise<readonly Sample[]>;
  /** Threads of those who take part in every scenario. */
  readonly threads: number;
  /** Time for a program that goes on to do what its timers want. Default 100. */
  readonly settleMs?: number;
  /** Ends the measurement that is under way, and all that would follow. */
  readonly signal: AbortSignal;
  /** Told what is under way. */
  readonly progress: (text: string) => void;
  /** Told who takes no part any more, and why in one sentence. */
  readonly leaveOut: (name: string, why: string) => void;
}

const SETTLE_MS = 100;
const WARM_TOKENS = 16;
/** The prompt that tells how many tokens a text has beyond its words. */
const PROBE_WORDS = 64;

/**
 * Starts everybody, plays all rounds, ends everybody; gives what there is when it is told to stop.
 */
export async function playRounds(plan: Plan): Promise<Sample[]> {
  await using field = new RunningField(plan);
  for (const entrant of plan.entrants) {
    if (plan.signal.aborted) break;
    plan.progress(`starting ${entrant.name}`);
    await field.enter(entrant);
  }
  const samples: Sample[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    if (plan.beforeRound && !plan.signal.aborted) {
      plan.progress(`round ${round + 1} of ${plan.rounds}: the machine itself`);
      samples.push(...await plan.beforeRound(round));
    }
    for (const scenario of plan.scenarios.filter(({ when }) => when === "round")) {
      samples.push(...await field.play(scenario, round));
    }
  }
  for (const scenario of plan.scenarios.filter(({ when }) => when === "end")) {
    samples.push(...await field.play(scenario, 0));
  }
  return samples;
}

/** A program that plays. */
interface Player {
  readonly contender: Contender;
  /** Words that a prompt needs beyond its tokens; what begins every text counts too. */
  extraWords: number;
}

/** Everybody's programs, all of them paused but the one that is measured. */
class RunningField implements AsyncDisposable {
  readonly #plan: Plan;
  readonly #players = new Map<Entrant, Player>();
  readonly #stopped: Promise<void>;
  #serial = 0;

  constructor(plan: Plan) {
    this.#plan = plan;
    const { signal } = plan;
    this.#stopped = new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
  }

  /** Starts a program and lets it do all that it does only once for a size of its work. */
  async enter(entrant: Entrant): Promise<void> {
    await this.#guard(entrant, async () => {
      const contender = await entrant.start();
      const player: Player = { contender, extraWords: 0 };
      this.#players.set(entrant, player);
      const probe = [this.#prompt(player, PROBE_WORDS)];
      const [answer] = await contender.ask({ prompts: probe, maxTokens: WARM_TOKENS });
      player.extraWords = PROBE_WORDS - answer!.promptTokens;
      for (const [count, tokens] of warmLoads(this.#plan.scenarios)) {
        const prompts = Array.from({ length: count }, () => this.#prompt(player, tokens));
        await contender.ask({ prompts, maxTokens: WARM_TOKENS });
      }
      contender.processes.pause();
    });
  }

  /** Measures everybody in turn; who is first changes with the round. */
  async play(scenario: Scenario, round: number): Promise<Sample[]> {
    const all = [...this.#players.keys()]
      .filter(({ threads }) => threads === this.#plan.threads || scenario.oneThread)
      .filter((entrant) => scenario.plays?.(entrant) ?? true);
    const samples: Sample[] = [];
    for (const index of all.keys()) {
      const entrant = all[(index + round) % all.length]!;
      const { rounds, progress, signal } = this.#plan;
      if (signal.aborted) break;
      progress(`round ${round + 1} of ${rounds}: ${scenario.name}, ${entrant.name}`);
      await this.#guard(entrant, async () => {
        const values = await this.#measure(scenario, entrant);
        scenario.figures.forEach((figure, at) =>
          samples.push({ figure, entrant: entrant.name, round, value: values[at]! })
        );
      });
    }
    return samples;
  }

  async #measure(scenario: Scenario, entrant: Entrant): Promise<number[]> {
    const player = this.#players.get(entrant)!;
    const { contender } = player;
    contender.processes.resume();
    await sleep(this.#plan.settleMs ?? SETTLE_MS);
    await contender.ask({ prompts: [this.#prompt(player, WARM_TOKENS)], maxTokens: WARM_TOKENS });
    const stage = { entrant, contender, prompt: (tokens: number) => this.#prompt(player, tokens) };
    const values = await scenario.measure(stage);
    contender.processes.pause();
    return values;
  }

  #prompt({ extraWords }: Player, tokens: number): string {
    return prompt(tokens + extraWords, this.#serial++);
  }

  /** Takes an entrant that fails out of the field and goes on without it. */
  async #guard(entrant: Entrant, work: () => Promise<void>): Promise<void> {
    try {
      await Promise.race([work(), this.#stopped]);
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      this.#plan.leaveOut(entrant.name, error.message);
      const player = this.#players.get(entrant);
      this.#players.delete(entrant);
      await player?.contender[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const contenders = [...this.#players.values()].map(({ contender }) => contender);
    await Promise.all(contenders.map((each) => each[Symbol.asyncDispose]()));
  }
}

/** Each number of prompts with each of their lengths that occurs, once. */
function warmLoads(scenarios: readonly Scenario[]): [prompts: number, tokens: number][] {
  const loads = scenarios.map(({ load }) => [load.prompts, load.promptTokens] as const);
  return [...new Map(loads.map(([prompts, tokens]) => [`${prompts} ${tokens}`, [prompts, tokens]]))
    .values()] as [number, number][];
}
