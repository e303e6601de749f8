/**
 * A handler on Bun.serve: the options that Bun needs, and nothing else.
 *
 * @module
 */
import {
  DEFAULT_ADDRESS,
  type RunningServer,
  type ServeOptions,
  urlOf,
  withKeepAlive,
} from "./server.ts";

/** Seconds without a byte after which Bun drops a client that is not waiting for a generation. */
const IDLE_TIMEOUT_S = 30;
/** A backstop: the handler's own limit is lower and answers in the client's dialect. */
const REQUEST_BYTES_MAX = 64 << 20;

/** Starts to listen. Throws where the address is taken. */
export function serve(options: ServeOptions): RunningServer {
  const { handler } = options;
  // @ts-ignore -- deno check has no types of Bun; tsc has them
  const server = Bun.serve({
    hostname: options.hostname ?? DEFAULT_ADDRESS.hostname,
    port: options.port ?? DEFAULT_ADDRESS.port,
    idleTimeout: IDLE_TIMEOUT_S,
    maxRequestBodySize: REQUEST_BYTES_MAX,
    // Bun's own error page shows the exception and the working folder.
    development: false,
    error: () => new Response(null, { status: 500 }),
    async fetch(request: Request): Promise<Response> {
      const response = await handler(request);
      // A generation that thinks is no idle client. Its pings cannot be relied on: they may be off.
      if (request.method === "POST" && response.ok) server.timeout(request, 0);
      // HTTP/2 is off by default, so every connection is HTTP/1.1.
      return withKeepAlive(response);
    },
  });
  const hostname = server.hostname ?? DEFAULT_ADDRESS.hostname;
  const port = server.port ?? 0;
  return {
    hostname,
    port,
    url: urlOf(hostname, port),
    async stop(graceMs = 0) {
      // The first stop() waits for open streams without end; it is the second that closes them.
      const closed = server.stop();
      await handler.drain(graceMs);
      await server.stop(true);
      await closed;
    },
  };
}
