/**
 * Streams as values: event logs that any number of readers read at their own pace, resume by token,
 * and find again after their process was lost. Needs no model, no native library and no server.
 *
 * @module
 */
export { type FieldError, OverloadedError, RequestError, SluiceError } from "../errors.ts";
export { StreamingConfig, type StreamingOptions } from "./config.ts";
export { StoreTimeoutError } from "./copy.ts";
export { type Cursor, messageId, parseCursor, partsDelivered, streamOf } from "./cursor.ts";
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
} from "./event.ts";
export { SseFormatter, type TokenDetails } from "./formatter.ts";
export {
  encodeFrame,
  type Frame,
  FRAME_PAYLOAD_MAX,
  FrameError,
  frameMagic,
  FrameParser,
  parseFrames,
} from "./frame.ts";
export { ChunkGroup, type PullChunk, type StartTimer } from "./group.ts";
export type { StreamCounts, StreamLimits } from "./limits.ts";
export { EventLog, isTerminal } from "./log.ts";
export {
  encodeNdjson,
  encodeNdjsonBytes,
  NDJSON_LINE_MAX,
  type NdjsonMessage,
  NdjsonParser,
  parseNdjson,
} from "./ndjson.ts";
export type { StreamNote } from "./note.ts";
export { type Entry, StreamReader } from "./reader.ts";
export {
  streamAndCollect,
  type StreamResponse,
  streamResponses,
  TokenTimeoutError,
} from "./response.ts";
export {
  encodeSse,
  encodeSseBytes,
  parseSse,
  type SseMessage,
  SseParser,
  SseWriter,
} from "./sse.ts";
export { snapshotOf } from "./snapshot.ts";
export {
  type Demand,
  NO_DEMAND,
  type StoredStream,
  StreamConflictError,
  type StreamRecord,
  type StreamStore,
} from "./store.ts";
export type { StreamSource } from "./source.ts";
export { type OnDisconnect, Stream, type StreamParts } from "./stream.ts";
export { type NewStream, Streams, type StreamsOptions } from "./streams.ts";
