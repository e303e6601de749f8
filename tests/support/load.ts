/**
 * Load on a server that generates: as many clients as it runs at once, and far more than those.
 *
 * @module
 */
import { pause } from "../../src/stream/within.ts";

/** One request, as its client saw it; times in milliseconds. */
export interface Asked {
  /** When it was sent, since the load began. */
  readonly sentMs: number;
  readonly status: number;
  /** From then to the first token; undefined without one. */
  readonly firstMs: number | undefined;
}

/** What a load found. */
export interface Load {
  readonly asked: readonly Asked[];
  /** Answers a second that came to their end. */
  readonly perSecond: number;
}

/** Makes the body of the nth request. */
export type BodyOf = (n: number) => unknown;

/** The value that a share of the values is below. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Times to the first token, of those who got one. */
export function firstTokens({ asked }: Load): number[] {
  return asked.flatMap(({ firstMs }) => firstMs === undefined ? [] : [firstMs]);
}

async function ask(url: string, body: unknown, beganMs: number): Promise<Asked> {
  const startMs = performance.now();
  const response = await fetch(`${url}/v1/stream`, { method: "POST", body: JSON.stringify(body) });
  let firstMs: number | undefined;
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of response.body ?? []) {
    if (firstMs !== undefined) continue;
    text += decoder.decode(bytes, { stream: true });
    if (text.includes("event: token\n")) firstMs = performance.now() - startMs;
  }
  return { sentMs: startMs - beganMs, status: response.status, firstMs };
}

/** So many clients, each of which asks again when it was answered. */
export async function steadyLoad(
  url: string,
  clients: number,
  ms: number,
  bodyOf: BodyOf,
): Promise<Load> {
  const asked: Asked[] = [];
  const beganMs = performance.now();
  let n = 0;
  await Promise.all(Array.from({ length: clients }, async () => {
    while (performance.now() - beganMs < ms) asked.push(await ask(url, bodyOf(n++), beganMs));
  }));
  const seconds = (performance.now() - beganMs) / 1000;
  return { asked, perSecond: asked.length / seconds };
}

/** So many requests a second, whatever becomes of those before them. */
export async function openLoad(
  url: string,
  perSecond: number,
  ms: number,
  bodyOf: BodyOf,
): Promise<Load> {
  const beganMs = performance.now();
  const all: Promise<Asked>[] = [];
  for (;;) {
    const sinceMs = performance.now() - beganMs;
    if (sinceMs >= ms) break;
    while (all.length < sinceMs / 1000 * perSecond) {
      all.push(ask(url, bodyOf(all.length), beganMs));
    }
    await pause(2);
  }
  const asked = await Promise.all(all);
  const seconds = (performance.now() - beganMs) / 1000;
  return { asked, perSecond: asked.filter(({ status }) => status === 200).length / seconds };
}

/**
 * What was asked from the first refusal on. What came before it was a burst, which the queue is
 * for; it is only then that the server knows that there is too much.
 */
export function sinceRefusal(load: Load): Load {
  const first = Math.min(...load.asked.flatMap((a) => a.status === 429 ? [a.sentMs] : []));
  return { ...load, asked: load.asked.filter(({ sentMs }) => sentMs >= first) };
}
