/**
 * Quota: how many generations a key may start and how many tokens it may use in a minute.
 *
 * Both are token buckets that hold one minute. Tokens are paid when they are computed, because
 * nobody knows before how long an answer gets; who has overdrawn waits until it is paid back.
 *
 * @module
 */
import type { Generator } from "../engine/generator.ts";
import type { StreamEvent } from "../stream/event.ts";
import { OverloadedError } from "../errors.ts";

const MINUTE_MS = 60_000;

/** One limit: what it holds flows back evenly. */
export class Bucket {
  readonly perMinute: number;
  readonly #now: () => number;
  /** In units times milliseconds of a minute, so that no rounding takes or gives any. */
  #level: number;
  #at: number;

  /**
   * A full one.
   *
   * @param now milliseconds of any clock that only goes forward
   */
  constructor(perMinute: number, now: () => number) {
    this.perMinute = perMinute;
    this.#now = now;
    this.#level = perMinute * MINUTE_MS;
    this.#at = now();
  }

  #fill(): number {
    const now = this.#now();
    const full = this.perMinute * MINUTE_MS;
    this.#level = Math.min(full, this.#level + (now - this.#at) * this.perMinute);
    this.#at = now;
    return this.#level;
  }

  /** Whole units that are left. */
  get left(): number {
    return Math.max(0, Math.floor(this.#fill() / MINUTE_MS));
  }

  /** Takes units, also where they are not there. */
  spend(units: number): void {
    this.#level = this.#fill() - units * MINUTE_MS;
  }

  /** Milliseconds until there are so many units. */
  waitMs(units: number): number {
    return Math.max(0, (units * MINUTE_MS - this.#fill()) / this.perMinute);
  }
}

/** A duration as OpenAI writes it: `120ms`, `1.5s`, `6m0s`. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.ceil(ms)}ms`;
  const seconds = Math.ceil(ms / 10) / 100;
  const minutes = Math.floor(seconds / 60);
  const rest = Math.round((seconds - minutes * 60) * 100) / 100;
  return minutes > 0 ? `${minutes}m${rest}s` : `${rest}s`;
}

/** What one key may use. */
export interface QuotaLimits {
  /** Generations in a minute; undefined is no limit. */
  readonly requestsPerMinute?: number | undefined;
  /** Tokens of prompts and answers in a minute; undefined is no limit. */
  readonly tokensPerMinute?: number | undefined;
}

/** What one key may use, and has used. */
export class Quota {
  readonly #requests: Bucket | undefined;
  readonly #tokens: Bucket | undefined;

  /** A quota of which nothing is used. */
  constructor({ requestsPerMinute, tokensPerMinute }: QuotaLimits, now = () => performance.now()) {
    this.#requests = requestsPerMinute === undefined
      ? undefined
      : new Bucket(requestsPerMinute, now);
    this.#tokens = tokensPerMinute === undefined ? undefined : new Bucket(tokensPerMinute, now);
  }

  /**
   * Takes one generation.
   *
   * @throws OverloadedError with the code `rate_limit_exceeded`; nothing is taken then
   */
  take(): void {
    this.#refuse(this.#requests, "requests", "requestsPerMinute");
    this.#refuse(this.#tokens, "tokens", "tokensPerMinute");
    this.#requests?.spend(1);
  }

  #refuse(bucket: Bucket | undefined, unit: string, limit: keyof QuotaLimits): void {
    const waitMs = bucket?.waitMs(1) ?? 0;
    if (bucket === undefined || waitMs === 0) return;
    throw new OverloadedError(
      `Cannot start the generation: the API key has used its ${bucket.perMinute} ${unit} per ` +
        `minute, try again in ${durationText(waitMs)}`,
      waitMs / 1000,
      "rate_limit_exceeded",
      limit,
    );
  }

  /** A generator whose tokens are paid out of this quota. */
  metered(generator: Generator): Generator {
    const tokens = this.#tokens;
    if (tokens === undefined) return generator;
    return {
      model: generator.model,
      async *generate(request, signal, steering) {
        for await (const event of generator.generate(request, signal, steering)) {
          tokens.spend(tokensOf(event));
          yield event;
        }
      },
    };
  }

  /** What is left, in the headers that OpenAI's clients know. */
  get headers(): Record<string, string> {
    return { ...figures("requests", this.#requests), ...figures("tokens", this.#tokens) };
  }
}

function tokensOf(event: StreamEvent): number {
  if (event.type === "start") return event.promptTokens;
  return event.type === "token" ? event.ids.length : 0;
}

function figures(unit: string, bucket: Bucket | undefined): Record<string, string> {
  if (bucket === undefined) return {};
  return {
    [`x-ratelimit-limit-${unit}`]: String(bucket.perMinute),
    [`x-ratelimit-remaining-${unit}`]: String(bucket.left),
    [`x-ratelimit-reset-${unit}`]: durationText(bucket.waitMs(bucket.perMinute)),
  };
}
