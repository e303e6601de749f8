/**
 * A handler as a `fetch` function: any client library talks to a model in its own process, without
 * a port.
 *
 * @module
 */

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
