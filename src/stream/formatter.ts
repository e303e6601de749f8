/**
 * SseFormatter: events as ready strings of an event stream, in the plain words of many clients.
 *
 * `data: {"token":"Hello","token_id":1234}`, then `data: {"generated_tokens":2,...}`, then
 * `data: [DONE]`. It holds nothing but its flags, so that one serves any number of streams.
 *
 * @module
 */
import type { CompleteEvent, TokenEvent } from "./event.ts";

/** What a token may say beyond its event, where the engine was asked for it. */
export interface TokenDetails {
  /** Natural logarithm of each id's probability, in the order of the ids. */
  logprobs?: readonly number[];
  /** The text is a special token's, such as an end mark; false by default. */
  special?: boolean;
}

const json = JSON.stringify;

/** Writes events as strings; set the flags at any time. */
export class SseFormatter {
  /** Tokens say their `token_id`, null where the source has no ids; false by default. */
  includeTokenIds = false;
  /** Tokens say their `logprob` where it is known; false by default. */
  includeLogprobs = false;
  /** The completion says its `generation_time_ms`, whole milliseconds; false by default. */
  includeTiming = false;

  /** One message for each id, as if none had been held back: the text comes with the last one. */
  formatToken(event: TokenEvent & TokenDetails): string {
    const { ids, text, logprobs, special } = event;
    const last = Math.max(ids.length, 1) - 1;
    let messages = "";
    for (let i = 0; i <= last; i++) {
      messages += `data: {"token":${json(i === last ? text : "")}`;
      if (this.includeTokenIds) messages += `,"token_id":${ids[i] ?? null}`;
      const logprob = this.includeLogprobs ? logprobs?.[i] : undefined;
      if (logprob !== undefined) messages += `,"logprob":${json(logprob)}`;
      if (special === true) messages += ',"special":true';
      messages += "}\n\n";
    }
    return messages;
  }

  /** The completion and the end mark: nothing comes after them. */
  formatComplete({ finishReason, stats }: CompleteEvent): string {
    // A call of a tool is where the model ended by itself.
    const reason = finishReason === "tool_calls" ? "eos" : finishReason;
    const timing = this.includeTiming ? `,"generation_time_ms":${Math.round(stats.totalMs)}` : "";
    return `data: {"generated_tokens":${stats.generatedTokens},"finish_reason":"${reason}"` +
      `${timing}}\n\ndata: [DONE]\n\n`;
  }

  /** One sentence on what went wrong; whether `[DONE]` follows is the dialect's choice. */
  formatError(text: string): string {
    return `data: {"error":${json(text)}}\n\n`;
  }
}
