/**
 * The HTTP surface: a Generator as a Web-standard fetch handler, and as an in-process `fetch`.
 *
 * @module
 */
export type { AccessOptions } from "./access.ts";
export { createHandler } from "./handler.ts";
export type { Handler, HandlerOptions } from "./handler.ts";
export type { OpenSocket } from "./upgrades.ts";
export type { TelemetryOptions } from "./telemetry.ts";
export type { OpenTelemetryApi } from "./tracing.ts";
export type { Socket, SocketLimits, SocketListener } from "./socket.ts";
export { createKey, parseKeys } from "./keys.ts";
export type { ApiKey, Scope } from "./keys.ts";
export { inProcessFetch } from "./fetch.ts";
export type { Fetch } from "./fetch.ts";
export type {
  ChatMessage,
  GenerateRequest,
  Generator,
  GeneratorLoad,
  ModelInfo,
  ResumePoint,
  SamplingOptions,
} from "../engine/generator.ts";
export { type Change, Steering } from "../engine/steering.ts";
export { StreamingConfig, type StreamingOptions } from "../stream/config.ts";
export type { StoredStream, StreamRecord, StreamStore } from "../stream/store.ts";
export type { StreamCounts, StreamLimits } from "../stream/limits.ts";
export type {
  Channel,
  CompleteEvent,
  ErrorEvent,
  FinishReason,
  GenerationStats,
  NoticeEvent,
  PrefillEvent,
  QueueEvent,
  SnapshotEvent,
  StartEvent,
  StreamEvent,
  TokenEvent,
  UsageEvent,
} from "../stream/event.ts";
