/**
 * The relay: any server that speaks OpenAI's language as a Generator, so that every dialect, log
 * and limit works over it. Web standards only.
 *
 * @module
 */
export { relay, type RelayOptions } from "./relay.ts";
export type { Fetch } from "./upstream.ts";
export type { GenerateRequest, Generator, ModelInfo } from "../engine/generator.ts";
export { OverloadedError, RequestError, UpstreamError } from "../errors.ts";
