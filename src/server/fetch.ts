/**
 * A handler as a `fetch` function: any client library talks to a model in its own process, without
 * a port.
 *
 * @module
 */
import { endingOf, withEnding } from "./ending.ts";
import { visitOf } from "./gate.ts";

/** The signature that client libraries take. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/**
 * Makes a `fetch` out of a handler. An abort rejects what waits, before the headers and after them,
 * and frees the generation, as on a socket.
 *
 * Only the path of the URL matters, but its host has to pass the handler's gate: use localhost.
 *
 * @example
 * ```ts ignore
 * const client = new OpenAI({ baseURL: "http://localhost/v1", fetch: inProcessFetch(handler) });
 * ```
 */
export function inProcessFetch(handler: (request: Request) => Promise<Response>): Fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    request.signal.throwIfAborted();
    const response = await handler(request);
    // The handler has tied the body to the signal, so that what was aborted meanwhile is cancelled
    // by now.
    request.signal.throwIfAborted();
    return response;
  };
}

/**
 * The response as its client gets it. In process no socket tells that the client has gone, but the
 * signal of its request does: what waits for the body is rejected, as by a fetch, and the source is
 * cancelled. On a socket that signal is left alone: Deno aborts it at every end, and misses
 * disconnects of requests with a body.
 */
export function tied(request: Request, response: Response): Response {
  const ending = endingOf(response);
  const isRemote = request.headers.has("host") || visitOf(request).isRemote;
  if (isRemote || ending === undefined || response.body === null) return response;
  const body = response.body.pipeThrough(new TransformStream(), { signal: request.signal });
  return withEnding(new Response(body, response), ending);
}
