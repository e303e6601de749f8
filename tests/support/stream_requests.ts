/**
 * A handler over a scripted generator, and what its streams say.
 *
 * @module
 */
import { createHandler, type Handler, type HandlerOptions } from "../../src/server/handler.ts";
import { MockGenerator, type Script } from "./mock_generator.ts";

/** A handler with its generator and what it reports. */
export interface Served {
  mock: MockGenerator;
  failures: unknown[];
  handler: Handler;
}

/** Serves a script. */
export function serve(script: Script, options: HandlerOptions = {}): Served {
  const mock = new MockGenerator(script);
  const failures: unknown[] = [];
  const onError = (failure: unknown): void => void failures.push(failure);
  return { mock, failures, handler: createHandler(mock, { onError, ...options }) };
}

/** A response that was read to its end. */
export interface Whole {
  /** Id of the stream; "" where the response has none. */
  id: string;
  status: number;
  text: string;
}

/** Asks and reads the response to its end. */
export async function whole(handler: Handler, request: Request): Promise<Whole> {
  const response = await handler(request);
  const id = response.headers.get("x-stream-id") ?? "";
  return { id, status: response.status, text: await response.text() };
}

/** What follows the block that ends with this cursor. */
export function after(text: string, cursor: string): string {
  const blocks = text.split("\n\n");
  return blocks.slice(blocks.findLastIndex((block) => block.includes(`id: ${cursor}\n`)) + 1)
    .join("\n\n");
}

/** A stream without its first block. */
export const withoutPreamble = (text: string): string => text.split("\n\n").slice(1).join("\n\n");
