/**
 * The HTTP surface: a Generator as a Web-standard fetch handler, and as an in-process `fetch`.
 *
 * @module
 */
export { createHandler } from "./handler.ts";
export type { Handler, HandlerOptions } from "./handler.ts";
export { inProcessFetch } from "./fetch.ts";
export type { Fetch } from "./fetch.ts";
export type {
  ChatMessage,
  GenerateRequest,
  Generator,
  ModelInfo,
  SamplingOptions,
} from "../engine/generator.ts";
export type {
  Channel,
  CompleteEvent,
  ErrorEvent,
  FinishReason,
  GenerationStats,
  StartEvent,
  StreamEvent,
  TokenEvent,
  UsageEvent,
} from "../stream/event.ts";
