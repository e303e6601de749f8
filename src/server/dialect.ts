/**
 * Dialect: one wire language, as pure functions between bodies, requests and events.
 *
 * No wire name appears below `dialects/`, and no dialect sees a Request, a Response, a clock or a
 * generator; ids of SSE messages are put on from outside.
 *
 * @module
 */
import type { GenerateRequest, ModelInfo } from "../engine/generator.ts";
import type {
  FinishReason,
  GenerationStats,
  StreamEvent,
  TokenEvent,
  UsageEvent,
} from "../stream/event.ts";
import type { SseMessage } from "../stream/sse.ts";
import type { OnDisconnect } from "../stream/stream.ts";
import type { JsonObject } from "./fields.ts";
import type { ErrorBody } from "./json_response.ts";

/** The last message of the dialects that end with a sentinel. */
export const DONE: SseMessage = { data: "[DONE]" };

/** What is fixed about one answer before its first event. */
export interface AnswerContext {
  readonly model: ModelInfo;
  /** 32 hexadecimal digits, different for every answer. */
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
}

/**
 * Messages of the event at `seq`, in order and new each time; none where the dialect has nothing to
 * say about it.
 *
 * A reader may begin at any seq: what is remembered from one call to the next is only what the
 * event just before says.
 */
export type Encode = (event: StreamEvent, seq: number) => SseMessage[];

/** How a client wants its stream to be treated. */
export interface Delivery {
  /** What happens when its last reader goes before the end. Default cancel. */
  readonly onDisconnect: OnDisconnect;
  /** False keeps it out of the store. Default true. */
  readonly isResumable: boolean;
}

/** A finished generation, for an answer in one piece. */
export interface Completion {
  /** Text of the channels content and tool. */
  readonly text: string;
  /** Text of the channel reasoning. */
  readonly reasoning: string;
  /** Ids of all sampled tokens. */
  readonly ids: readonly number[];
  /** The tokens one by one, as their events have them. */
  readonly tokens: readonly Pick<TokenEvent, "ids" | "text">[];
  readonly finishReason: FinishReason;
  readonly usage: Usage;
  readonly stats: GenerationStats;
}

/** Token counts, as the usage event has them. */
export type Usage = Omit<UsageEvent, "type">;

/** One accepted request with all that is needed to answer it: as a stream or in one piece. */
export type Exchange = StreamExchange | WholeExchange;

interface AcceptedRequest {
  readonly request: GenerateRequest;
  /** What happens to the stream beside what its request says. */
  readonly delivery: Delivery;
  /** How a failure of this exchange is written before its headers. */
  readonly errorBody: ErrorBody;
}

/** An exchange whose events are sent as they come. */
export interface StreamExchange extends AcceptedRequest {
  readonly stream: true;
  /** A new encoder. What it remembers is a pure function of the events it was given. */
  encoder(): Encode;
}

/** An exchange that is answered by one JSON body at the end. */
export interface WholeExchange extends AcceptedRequest {
  readonly stream: false;
  /** The JSON body. */
  answer(completion: Completion): unknown;
}

/**
 * What a stream has beside its messages. Where a language says nothing: ids, a preamble and pings.
 * `plain` is without ids, for clients that know `data:` lines alone; `bare` is the messages and
 * nothing else, for those that read every block as JSON.
 */
export type Frames = "plain" | "bare";

/** How a request was sent, beside its body. */
export interface Manner {
  /** By GET, as an EventSource does, which resumes by itself. */
  readonly isGet: boolean;
  /** The text alone is wanted. */
  readonly wantsText: boolean;
}

/** What is spoken at a path that generates: by POST, and by GET where queries are read. */
export interface Speech {
  /** For readers and for other paths; one of its own for each shape. */
  readonly name: string;
  /** Default all that clients that resume need. */
  readonly frames?: Frames;
  /**
   * Its messages say what came long before them, so its encoder needs every event, those too that
   * the reader has. Default false.
   */
  readonly readsFromStart?: boolean;
  /** The body that the query of a GET stands for; without this the path takes no GET. */
  query?(params: URLSearchParams): JsonObject;
  /** Name of what is spoken in place of this. Default its own. */
  shape?(manner: Manner): string;
  /** @throws RequestError that names every bad field */
  accept(body: JsonObject, context: AnswerContext): Exchange;
  /** A new encoder for a stream that was made elsewhere, as for a request without options. */
  encoder(context: AnswerContext): Encode;
}

/** A path that generates. */
export interface GenerateRoute extends Speech {
  readonly path: string;
}

/** A path that tells something about the model. Always GET. */
export interface ModelRoute {
  /** An end of `/*` takes any rest; the rest is percent-decoded. */
  readonly path: string;
  /** @throws RequestError with status 404 where `rest` names nothing */
  describe(model: ModelInfo, rest: string): unknown;
}

/** One wire language. */
export interface Dialect {
  readonly generates: readonly GenerateRoute[];
  /** What is spoken in place of others, or where a path is bound to it. Default nothing. */
  readonly speaks?: readonly Speech[];
  readonly describes: readonly ModelRoute[];
  /** Whether the start event has a message of its own in some stream. Default false. */
  readonly opensWithMessage?: boolean;
  /** Written where the server stops before a stream has ended. Default a comment. */
  readonly shutdown?: SseMessage;
  /** How a failure is written before a request was accepted. */
  readonly errorBody: ErrorBody;
}

/** The usage event, or the same out of the statistics where a generator gives none. */
export function usageOf(stats: GenerationStats, usage: UsageEvent | undefined): Usage {
  if (usage !== undefined) return usage;
  const { promptTokens, generatedTokens } = stats;
  return { promptTokens, completionTokens: generatedTokens, cachedTokens: 0 };
}
