/**
 * KeptRequest: what is kept of a request, so that its stream can be read and continued anywhere.
 *
 * @module
 */
import type { ResumePoint } from "../engine/generator.ts";
import type { Change } from "../engine/steering.ts";
import type { StreamEvent } from "../stream/event.ts";
import type { StreamRecord } from "../stream/store.ts";
import type { OnDisconnect } from "../stream/stream.ts";
import { mergeChanges } from "./control.ts";
import type { AnswerContext } from "./dialect.ts";
import type { JsonObject } from "./fields.ts";

/** See the module. */
export interface KeptRequest {
  readonly path: string;
  /** Name of what the path spoke then. */
  readonly dialect: string;
  /** As it came. */
  readonly body: JsonObject;
  /** Drawn for a body without one: a stream that goes on elsewhere needs the same. */
  readonly seed: number;
  readonly context: AnswerContext;
  readonly onDisconnect: OnDisconnect;
  /** What was changed since. */
  readonly change?: Change;
}

/** The request of a stream. */
export function keptOf(record: StreamRecord): KeptRequest {
  return record.request as KeptRequest;
}

/** A request as it is after a change. */
export function amended(kept: KeptRequest, change: Change): KeptRequest {
  return { ...kept, change: mergeChanges(kept.change, change) };
}

/** A body that asks for a seed of its own gets it, another the one that was drawn for it. */
export function withSeed(body: JsonObject, seed: number): JsonObject {
  const own = body["seed"];
  return own === undefined || own === null || own === -1 ? { ...body, seed } : body;
}

/** Where a stream goes on that has given out these events. */
export function resumePoint(events: readonly StreamEvent[]): ResumePoint {
  const tokens = events.filter((event) => event.type === "token");
  return { ids: tokens.flatMap(({ ids }) => ids), seq: events.length - 1 };
}
