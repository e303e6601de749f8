/**
 * What the OpenAI dialect sends back: chunks, whole answers and usage, for chat and for
 * completions.
 *
 * Chunks are written around a head that is the same for a whole stream, because this is the hot
 * path.
 *
 * @module
 */
import type { Channel, FinishReason, StreamEvent, UsageEvent } from "../../stream/event.ts";
import type { SseMessage } from "../../stream/sse.ts";
import {
  type AnswerContext,
  type Completion,
  DONE,
  type Encode,
  type Usage,
  usageOf,
} from "../dialect.ts";
import { failure, type PublicError } from "../public_error.ts";

/** How chat and completions differ on the wire. */
export interface Shape {
  readonly idPrefix: string;
  readonly chunkObject: string;
  readonly wholeObject: string;
  /** Whether a stream opens with a chunk that names the assistant. */
  readonly opensWithRole: boolean;
  /**
   * JSON members of a chunk's choice that carry a piece of text; without a text, of the last one.
   */
  readonly piece: (text: string | undefined, channel: Channel) => string;
  /** Members of a whole answer's choice that carry its text. */
  readonly whole: (completion: Completion) => Record<string, unknown>;
}

/** `/v1/chat/completions`. */
export const chatShape: Shape = {
  idPrefix: "chatcmpl-",
  chunkObject: "chat.completion.chunk",
  wholeObject: "chat.completion",
  opensWithRole: true,
  piece: (text, channel) => {
    if (text === undefined) return '"delta":{}';
    const name = channel === "reasoning" ? "reasoning_content" : "content";
    return `"delta":{"${name}":${JSON.stringify(text)}}`;
  },
  whole: ({ text, reasoning }) => ({
    message: {
      role: "assistant",
      content: text,
      ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
      refusal: null,
    },
  }),
};

/** `/v1/completions`. */
export const completionShape: Shape = {
  idPrefix: "cmpl-",
  chunkObject: "text_completion",
  wholeObject: "text_completion",
  opensWithRole: false,
  piece: (text = "") => `"text":${JSON.stringify(text)}`,
  whole: ({ text, reasoning }) => ({ text: reasoning + text }),
};

/** Null for an end that is a failure: the client would take any word for a finished answer. */
function finishReason(reason: FinishReason): "stop" | "length" | "tool_calls" | null {
  if (reason === "cancelled" || reason === "error") return null;
  return reason === "eos" ? "stop" : reason;
}

function usageBody({ promptTokens, completionTokens, cachedTokens }: Usage): unknown {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

function head({ id, created, model }: AnswerContext, idPrefix: string, object: string): object {
  const system_fingerprint = model.fingerprint ?? "sluice";
  return { id: idPrefix + id, object, created, model: model.id, system_fingerprint };
}

/** The encoder of one stream. */
export function makeEncoder(
  shape: Shape,
  context: AnswerContext,
  includeUsage: boolean,
  errorBody: (error: PublicError) => unknown,
): Encode {
  const opening = JSON.stringify(head(context, shape.idPrefix, shape.chunkObject)).slice(0, -1);
  const ending = includeUsage ? '],"usage":null}' : "]}";
  const chunk = (index: number, members: string, reason: string | null): SseMessage => ({
    data: `${opening},"choices":[{"index":${index},${members},"logprobs":null,"finish_reason":${
      reason === null ? "null" : `"${reason}"`
    }}${ending}`,
  });
  const broken = (error: PublicError): SseMessage[] => [
    { data: JSON.stringify(errorBody(error)) },
    DONE,
  ];
  let usage: UsageEvent | undefined;
  return (event: StreamEvent): SseMessage[] => {
    switch (event.type) {
      case "start":
        if (!shape.opensWithRole) return [];
        return [chunk(0, '"delta":{"role":"assistant","content":""}', null)];
      case "token":
        // Nothing to show yet: the text of a held-back token comes with a later one.
        if (event.text === "") return [];
        return [chunk(event.choice, shape.piece(event.text, event.channel), null)];
      case "snapshot": {
        const { reasoning, text } = event;
        const pieces = [[reasoning, "reasoning"], [text, "content"]] as const;
        return pieces.filter(([piece]) => piece !== "").map(([piece, channel]) =>
          chunk(0, shape.piece(piece, channel), null)
        );
      }
      case "usage":
        usage = event;
        return [];
      case "complete": {
        const reason = finishReason(event.finishReason);
        if (reason === null) return broken(failure("cancelled"));
        const last = chunk(0, shape.piece(undefined, "content"), reason);
        if (!includeUsage) return [last, DONE];
        const counts = JSON.stringify(usageBody(usageOf(event.stats, usage)));
        return [last, { data: `${opening},"choices":[],"usage":${counts}}` }, DONE];
      }
      case "queue":
      case "prefill":
        return [];
      case "error":
        return broken({ ...event, status: 500, fields: [] });
    }
  };
}

/** The body of an answer in one piece. */
export function wholeAnswer(shape: Shape, context: AnswerContext, completion: Completion): unknown {
  return {
    ...head(context, shape.idPrefix, shape.wholeObject),
    choices: [{
      index: 0,
      ...shape.whole(completion),
      logprobs: null,
      finish_reason: finishReason(completion.finishReason),
    }],
    usage: usageBody(completion.usage),
  };
}
