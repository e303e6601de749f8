/**
 * A script without a model for the kit and its recordings: the same answer to the same request, at
 * the length that was asked for.
 *
 * @module
 */
import type { GenerateRequest } from "../../src/engine/generator.ts";
import { complete, START, type Step, token, usage } from "../../tests/support/mock_generator.ts";

/** Prompts that contain it are answered after a silence. */
export const SILENT_PROMPT = "Think first.";
/** Prompts that contain it are answered by two tokens and a failure. */
export const FAILING_PROMPT = "Fail.";

/** All that is hard on a framing: an empty text, line ends, code points of every length. */
const TEXTS = ["Hel", "lo", "", " w\u00f6rld", "\n", "\n\ndata: x", "\u65e5\u672c", "\u{1f600}"];
/** From so many tokens on it takes its time, so that there is something to stop. */
const SLOW_TOKENS = 24;
const SLOW_MS = 4;
const SILENCE_MS = 400;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Says the texts in turn until `maxTokens`, or once without. */
export function* conformingScript(request: GenerateRequest): Generator<Step, void, undefined> {
  yield START;
  const prompt = JSON.stringify(request.messages ?? request.prompt);
  if (prompt.includes(SILENT_PROMPT)) yield pause(SILENCE_MS);
  const most = request.maxTokens ?? Infinity;
  const n = request.ignoreEos === true ? most : Math.min(most, TEXTS.length);
  for (let seq = 1; seq <= n; seq++) {
    if (n >= SLOW_TOKENS) yield pause(SLOW_MS);
    yield token(TEXTS[(seq - 1) % TEXTS.length]!, seq);
    if (seq < 2 || !prompt.includes(FAILING_PROMPT)) continue;
    yield { type: "error", code: "engine_error", message: "", hints: [] };
    return;
  }
  yield usage(n);
  yield complete(n, n === most ? "length" : "eos");
}
