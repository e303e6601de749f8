/**
 * Query: a generation that is asked for by GET, as an EventSource must: what such a request has to
 * say, and the body that its query stands for.
 *
 * A GET is sent for many reasons: by a link, a prefetch, a preview. So only one that names the type
 * of its answer starts a generation.
 *
 * @module
 */
import { RequestError } from "../errors.ts";
import { parseJsonObject } from "./body.ts";
import type { Manner } from "./dialect.ts";
import type { JsonObject } from "./fields.ts";

/** What a GET without `max_tokens` gets: nobody may be there to stop it. */
const MAX_TOKENS = 512;
/**
 * How long the stream of a GET waits for a reader that is gone: a few tries of an EventSource. It
 * cannot say whether it was cut off or closed.
 */
const GRACE_MS = 15_000;

/** Parameters about the connection; what is left says what to generate. */
const CONNECTION: ReadonlySet<string> = new Set(["lastEventId", "from", "ticket", "format"]);

/** A number or a word, as JSON writes it. */
const SCALAR = /^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false)$/;

/** How the request was sent, beside its body. */
export function mannerOf(request: Request): Manner {
  const wantsText = /\btext\/plain\b/.test(request.headers.get("accept") ?? "") ||
    new URL(request.url).searchParams.get("format") === "text";
  return { isGet: request.method === "GET" || request.method === "HEAD", wantsText };
}

/**
 * Refuses a GET that does not name the type of an event stream.
 *
 * @throws RequestError with status 406
 */
export function checkAccept(request: Request): void {
  if (/\btext\/event-stream\b/.test(request.headers.get("accept") ?? "")) return;
  throw new RequestError(
    "Cannot accept the request: a GET generates only with the header Accept: text/event-stream, " +
      "which an EventSource sends",
    [],
    { code: "not_acceptable", status: 406 },
  );
}

function valueOf(name: string, text: string): unknown {
  if (SCALAR.test(text)) return JSON.parse(text);
  return text.startsWith("{") ? parseJsonObject(text, `parameter ${name}`) : text;
}

/**
 * The body that a query stands for: numbers, `true`, `false` and objects are read as JSON, all
 * else is text, and a name that comes several times is an array. Where it does not say otherwise,
 * at most 512 tokens are generated, and the stream waits 15 s for its reader to come back.
 *
 * @param texts names of the fields that are text whatever they look like
 * @throws RequestError where an object is not valid JSON
 */
export function queryBody(params: URLSearchParams, texts: readonly string[]): JsonObject {
  const names = [...new Set(params.keys())].filter((name) => !CONNECTION.has(name));
  const fields = names.map((name) => {
    const values = params.getAll(name).map((value) =>
      texts.includes(name) ? value : valueOf(name, value)
    );
    return [name, values.length === 1 ? values[0] : values] as const;
  });
  return {
    max_tokens: MAX_TOKENS,
    // An absent on_disconnect lets `cancellable` speak.
    ...(!params.has("cancellable") && { on_disconnect: { grace_ms: GRACE_MS } }),
    ...Object.fromEntries(fields),
  };
}
