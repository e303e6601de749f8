/**
 * Reads a request's JSON body within limits: bytes, UTF-8, nesting; all checked before JSON.parse.
 *
 * Any Content-Type is read as JSON, because `curl -d` says application/x-www-form-urlencoded and
 * the servers that people come from accept that.
 *
 * @module
 */
import { RequestError } from "../errors.ts";
import type { JsonObject } from "./fields.ts";

/** Deepest nesting of arrays and objects in a body. */
export const DEPTH_MAX = 64;

function tooLarge(bytesMax: number): RequestError {
  return new RequestError(
    `Cannot read the body: it is larger than ${bytesMax} bytes, send a smaller one`,
    [],
    { code: "body_too_large", status: 413, limit: "bodyBytesMax" },
  );
}

async function readBytes(request: Request, bytesMax: number): Promise<Uint8Array[]> {
  if (Number(request.headers.get("content-length")) > bytesMax) throw tooLarge(bytesMax);
  const pieces: Uint8Array[] = [];
  let length = 0;
  if (request.body === null) return pieces;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw new RequestError("Cannot read the body: it was cut short", [], { cause });
    });
    if (done) return pieces;
    length += value.byteLength;
    if (length > bytesMax) {
      // Not awaited: the rest of the upload may never come.
      reader.cancel().catch(() => undefined);
      throw tooLarge(bytesMax);
    }
    pieces.push(value);
  }
}

function decodeUtf8(pieces: Uint8Array[]): string {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    return pieces.map((piece) => decoder.decode(piece, { stream: true })).join("") +
      decoder.decode();
  } catch (cause) {
    throw new RequestError("Cannot read the body: it is not valid UTF-8", [], { cause });
  }
}

/**
 * Deepest nesting of `text` as JSON, stopping once it passes `depthMax`; strings are stepped over.
 */
function nesting(text: string, depthMax: number): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length && deepest <= depthMax; i++) {
    const code = text.charCodeAt(i);
    if (inString) {
      if (code === 0x5c) i++; // backslash: the next character cannot end the string
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) inString = true;
    else if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x5d || code === 0x7d) depth--;
  }
  return deepest;
}

/**
 * A text as a JSON object.
 *
 * @param name what the text is to its client, for the errors
 * @throws RequestError
 */
export function parseJsonObject(text: string, name = "body"): JsonObject {
  if (nesting(text, DEPTH_MAX) > DEPTH_MAX) {
    throw new RequestError(`Cannot read the ${name}: it is nested deeper than ${DEPTH_MAX} levels`);
  }
  let object: unknown;
  try {
    object = JSON.parse(text);
  } catch (cause) {
    throw new RequestError(`Cannot read the ${name}: it is not valid JSON`, [], { cause });
  }
  if (typeof object !== "object" || object === null || Array.isArray(object)) {
    throw new RequestError(`Cannot read the ${name}: expected a JSON object`);
  }
  return object as JsonObject;
}

/**
 * The body as a JSON object.
 *
 * @throws RequestError with status 413 where it is larger than `bytesMax`, else 400
 */
export async function readJsonObject(request: Request, bytesMax: number): Promise<JsonObject> {
  return parseJsonObject(decodeUtf8(await readBytes(request, bytesMax)));
}
