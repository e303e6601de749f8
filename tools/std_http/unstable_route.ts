/**
 * Stand-in for `@std/http/unstable-route`: the first route whose method and pattern match answers.
 *
 * @module
 */

/** Answers a request. */
export type RequestHandler = (
  request: Request,
  info?: Deno.ServeHandlerInfo,
) => Response | Promise<Response>;

/** Answers a request that its route matched. */
export type Handler = (
  request: Request,
  params: URLPatternResult,
  info?: Deno.ServeHandlerInfo,
) => Response | Promise<Response>;

/** One row of the table; without `method` it accepts every method. */
export interface Route {
  pattern: URLPattern;
  method?: string | string[];
  handler: Handler;
}

/** A handler that asks the routes in order, then `defaultHandler`. */
export function route(routes: Route[], defaultHandler: RequestHandler): RequestHandler {
  const accepts = ({ method }: Route, wanted: string): boolean =>
    method === undefined || [method].flat().some((name) => name.toUpperCase() === wanted);
  return (request, info) => {
    for (const row of routes) {
      const params = accepts(row, request.method) ? row.pattern.exec(request.url) : null;
      if (params !== null) return row.handler(request, params, info);
    }
    return defaultHandler(request, info);
  };
}
