/**
 * A handler as a `fetch` function: any client library talks to a model in its own process, without a port.
 *
 * @module
 */

/** The signature that client libraries take. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** Rejects once `signal` is aborted; `release` stops listening. */
function aborted(signal: AbortSignal): { promise: Promise<never>; release: () => void } {
  let onAbort: () => void = () => undefined;
  const promise = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  // Nobody may be waiting when it rejects.
  promise.catch(() => undefined);
  return { promise, release: () => signal.removeEventListener("abort", onAbort) };
}

/** The same bytes, but an abort makes a waiting read reject and cancels the source, as on a socket. */
function abortable(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  const abort = aborted(signal);
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await Promise.race([reader.read(), abort.promise]);
        if (!done) return controller.enqueue(value);
        abort.release();
        controller.close();
      } catch (reason) {
        abort.release();
        controller.error(reason);
        await reader.cancel(reason);
      }
    },
    cancel(reason) {
      abort.release();
      return reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}

/**
 * Makes a `fetch` out of a handler, with a socket's manners: an abort rejects what waits, before the
 * headers and after them, and frees the generation.
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
    const { signal } = request;
    signal.throwIfAborted();
    const abort = aborted(signal);
    const answer = handler(request);
    try {
      const response = await Promise.race([answer, abort.promise]);
      if (response.body === null) return response;
      return new Response(abortable(response.body, signal), response);
    } catch (reason) {
      // What comes after the abort has no reader, and its body must not wait for one.
      answer.then((late) => late.body?.cancel()).catch(() => undefined);
      throw reason;
    } finally {
      abort.release();
    }
  };
}
