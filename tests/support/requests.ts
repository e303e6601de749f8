/**
 * Requests to a handler in process, and its responses as text that can be compared.
 *
 * @module
 */
import type { Handler } from "../../src/server/handler.ts";

/** A POST of a JSON body; a string is sent as it is. */
export function post(path: string, body: unknown, headers: Record<string, string> = {}): Request {
  return new Request(`http://localhost${path}`, {
    method: "POST",
    headers,
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

/** A request without body. */
export function get(path: string, headers: Record<string, string> = {}, method = "GET"): Request {
  return new Request(`http://localhost${path}`, { method, headers });
}

/** Headers of every answer, which differ from run to run and have tests of their own. */
const MEASURED = ["x-request-id", "server-timing"];

/** Status, headers and body as one text, with what differs from run to run put out of the way. */
export async function transcript(response: Response): Promise<string> {
  const told = [...response.headers].filter(([name]) => !MEASURED.includes(name));
  const headers = told.map(([name, value]) =>
    `${name}: ${value.replace(/^[0-9a-f]{32}$/, "<stream>")}\n`
  ).sort();
  const body = (await response.text())
    .replaceAll(/^id: [0-9a-f]{32}:/gm, "id: <stream>:")
    .replaceAll(/cmpl-[0-9a-f]{32}"/g, 'cmpl-<id>"')
    .replaceAll(/"created":[0-9]{10},/g, '"created":0,');
  return `${response.status}\n${headers.join("")}\n${body}`;
}

/** The JSON body of an answer, with its status. */
export async function jsonOf(
  handler: Handler,
  request: Request,
): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> {
  const response = await handler(request);
  const body = await response.json() as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body };
}

/** Reads chunks one by one, as text. */
export class ChunkReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(response: Response) {
    if (response.body === null) throw new TypeError("The response has no body");
    this.#reader = response.body.getReader();
  }

  /** The next chunk, or undefined at the end. */
  async next(): Promise<string | undefined> {
    const { done, value } = await this.#reader.read();
    return done ? undefined : new TextDecoder().decode(value);
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }
}
