/**
 * The client: one answer as a sequence of tokens that survives its connection; Web standards only.
 *
 * @module
 */
export { resumeStream, streamChat } from "./chat.ts";
export type {
  ChatMessage,
  ClientOptions,
  OnDisconnect,
  ResumeStreamOptions,
  StreamChatOptions,
} from "./chat.ts";
export { SluiceError } from "../errors.ts";
export type { FieldError } from "../errors.ts";
export type { ChatCompletion, ChatStream, ChatToken } from "./chat_stream.ts";
export { StreamError } from "./stream_error.ts";
export type { StreamErrorCode } from "./stream_error.ts";
export type { Fetch } from "./wire.ts";
