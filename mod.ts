/**
 * Run language models inside Bun and Deno programs and stream their tokens as a Web-standard
 * Response.
 *
 * @example Mount it
 * ```ts ignore
 * import { createHandler, load } from "@sluice/llm";
 *
 * export default { fetch: createHandler(await load("smollm2")) };
 * ```
 *
 * @example Embed it
 * ```ts ignore
 * import { load } from "@sluice/llm";
 *
 * await using model = await load("smollm2");
 * for await (const event of model.generate("The sky is")) {
 *   if (event.type === "token") console.log(event.text);
 * }
 * ```
 *
 * @module
 */
export { load, type LoadOptions, Model } from "./src/load.ts";
export { createHandler, type Handler, type HandlerOptions } from "./src/server/handler.ts";
export type { OpenSocket } from "./src/server/upgrades.ts";
export type { TelemetryOptions } from "./src/server/telemetry.ts";
export type { OpenTelemetryApi } from "./src/server/tracing.ts";
export type { AccessOptions } from "./src/server/access.ts";
export { type ApiKey, createKey, parseKeys, type Scope } from "./src/server/keys.ts";
export type { Socket, SocketLimits, SocketListener } from "./src/server/socket.ts";
export type { Fetch } from "./src/server/fetch.ts";
export type {
  ChatMessage,
  GenerateRequest,
  Generator,
  GeneratorLoad,
  ModelInfo,
  ResumePoint,
  SamplingOptions,
} from "./src/engine/generator.ts";
export { type Change, Steering } from "./src/engine/steering.ts";
export { StreamingConfig, type StreamingOptions } from "./src/stream/config.ts";
export { streamAndCollect, type StreamResponse, TokenTimeoutError } from "./src/stream/response.ts";
export { relay, type RelayOptions } from "./src/relay/relay.ts";
export type { StoredStream, StreamRecord, StreamStore } from "./src/stream/store.ts";
export { openStreamStore } from "./src/stream/stores/open.ts";
export type { StreamCounts, StreamLimits } from "./src/stream/limits.ts";
export type { EngineLimits } from "./src/engine/engine.ts";
export type { OnProgress } from "./src/engine/host.ts";
export type { CoreInfo, CoreStats } from "./src/engine/protocol.ts";
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
} from "./src/stream/event.ts";
export {
  ContextFullError,
  DisposedError,
  EngineError,
  type FieldError,
  GgufError,
  LibraryError,
  ModelError,
  OverloadedError,
  RequestError,
  SetupError,
  ShapeError,
  SluiceError,
  UpstreamError,
} from "./src/errors.ts";
export type {
  DownloadCounts,
  DownloadListener,
  DownloadNotice,
  Downloads,
} from "./src/server/downloads.ts";
